"""Generation of solutions with a trained model or any other sampler."""

from cvae.generation.generate import Plan, Solutions, Stage, generate

__all__ = ["Plan", "Solutions", "Stage", "generate"]
