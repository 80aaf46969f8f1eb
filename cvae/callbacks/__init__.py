"""Lightning callbacks of the project."""

from cvae.callbacks.best import BestCheckpoint
from cvae.callbacks.collapse import CollapseWarning
from cvae.callbacks.continuation import Continuation
from cvae.callbacks.figures import SolutionFigures
from cvae.callbacks.progress import TrainingProgress

__all__ = ["BestCheckpoint", "CollapseWarning", "Continuation", "SolutionFigures", "TrainingProgress"]
