"""Conditional variational autoencoders that find all solutions of an inverse problem."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvae.api import Run, fit, generate, load_model, plot, score
    from cvae.models import CVAE

try:
    __version__ = version("cvae")
except PackageNotFoundError:  # used from a source tree that is not installed
    __version__ = "0.0.0"

__all__ = ["CVAE", "Run", "__version__", "fit", "generate", "load_model", "plot", "score"]


def __getattr__(name: str) -> Any:
    # torch and Lightning take seconds to import, and ``train.py --help`` needs neither
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("cvae.models" if name == "CVAE" else "cvae.api"), name)
