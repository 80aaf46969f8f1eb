"""Lightning callbacks of the project."""

from cvae.callbacks.figures import SolutionFigures

__all__ = ["SolutionFigures"]
