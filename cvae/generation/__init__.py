"""Generation of solutions with a trained model or any other sampler."""

from cvae.generation.digits import generate_digits
from cvae.generation.generate import Draws, Plan, Solutions, Stage, check_plan, generate

__all__ = ["Draws", "Plan", "Solutions", "Stage", "check_plan", "generate", "generate_digits"]
