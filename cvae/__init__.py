"""Conditional variational autoencoders that find all solutions of an inverse problem."""

from importlib.metadata import PackageNotFoundError, version

from cvae.module import CVAE

try:
    __version__ = version("cvae")
except PackageNotFoundError:  # used from a source tree that is not installed
    __version__ = "0.0.0"

__all__ = ["CVAE", "__version__"]
