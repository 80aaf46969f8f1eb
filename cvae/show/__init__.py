"""What a person sees: tables in the terminal, and callbacks that write pictures and progress."""

from cvae.show.collapse import CollapseWarning
from cvae.show.pictures import SolutionFigures
from cvae.show.progress import TrainingProgress

__all__ = ["CollapseWarning", "SolutionFigures", "TrainingProgress"]
