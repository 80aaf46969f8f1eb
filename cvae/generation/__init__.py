"""Generation of solutions with a trained model."""

from cvae.generation.generate import Model, Plan, Solutions, Stage, generate

__all__ = ["Model", "Plan", "Solutions", "Stage", "generate"]
