"""Conditional variational autoencoders that find all solutions of an inverse problem."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvae.models import CVAE

try:
    __version__ = version("cvae")
except PackageNotFoundError:  # used from a source tree that is not installed
    __version__ = "0.0.0"

__all__ = ["CVAE", "__version__"]


def __getattr__(name: str) -> Any:
    # torch and Lightning take seconds to import, and ``train.py --help`` needs neither
    if name == "CVAE":
        from cvae.models import CVAE

        return CVAE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
