"""Lightning callbacks of the project."""

from cvae.callbacks.figures import SolutionFigures
from cvae.callbacks.progress import TrainingProgress

__all__ = ["SolutionFigures", "TrainingProgress"]
