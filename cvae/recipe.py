"""What the default recipe decides from the problem itself, so that no setting has to be tuned to a function."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from cvae.config import plain
from cvae.problems import Problem
from cvae.problems.reference import has_isolated_solutions
from cvae.seeds import stream

log = logging.getLogger(__name__)

#: how far off a decoder's first guesses are, as a share of the range
GUESS = 0.1
#: least alignment of the gradient of the misfit with the way to the solution at which the y-term is used
ALIGNED = 0.25


@dataclass(frozen=True)
class Decision:
    """What was found about a problem.

    Attributes:
        separate: exact solutions are isolated points, so a categorical latent is in place, not a Gaussian one.
        alignment: mean cosine between the direction in which the misfit falls and the way to the solution.
        y_term: the gradient through f helps from afar (``alignment`` is large enough); if not, the y-term is to act on
            near misses alone, and late.
    """

    separate: bool
    alignment: float
    y_term: bool

    def explain(self) -> str:
        """The decision in plain words."""
        if self.separate:
            solutions = "solutions of one y are separate points (model=auto takes a categorical latent)"
        else:
            solutions = "solutions of one y form a continuum (model=auto takes a Gaussian latent, y gets a tolerance)"
        if self.y_term:
            gradient = "the misfit points to the solution: by default the y-term acts everywhere"
        else:
            gradient = "the misfit has false minima: by default the y-term comes late and acts on near misses alone"
        return f"{solutions}; {gradient} (alignment {self.alignment:.2f})."


def decide(problem: Problem) -> Decision:
    """Look at a problem; takes well under a second."""
    alignment = gradient_alignment(problem)
    return Decision(has_isolated_solutions(problem), alignment, alignment >= ALIGNED)


def apply(cfg: DictConfig) -> None:
    """Settle what ``cfg.recipe`` leaves to the problem (``auto``), and say so.

    Raises:
        ValueError: for anything but auto, true and false.
    """
    for name in ("separate", "y_term"):
        if cfg.recipe[name] != "auto" and not isinstance(cfg.recipe[name], bool):
            raise ValueError(f"recipe.{name} is {cfg.recipe[name]!r}; it must be auto, true or false.")
    undecided = [name for name in ("separate", "y_term") if cfg.recipe[name] == "auto"]
    if not undecided:
        return
    keys = ("points", "directions", "range", "forward", "gates")
    decision = decide(Problem.from_config(**{key: plain(cfg.data[key]) for key in keys}))
    for name in undecided:
        cfg.recipe[name] = getattr(decision, name)
    log.info("%s", decision.explain())


def choose_model(cfg: DictConfig) -> None:
    """Replace ``model=auto`` by the one of its two models that ``cfg.recipe`` asks for.

    Raises:
        ValueError: if ``model.latent_dim`` was given and the choice has no Gaussian latent.
    """
    if "_target_" not in cfg.model:
        latent_dim = cfg.model.latent_dim
        if latent_dim is not None and cfg.recipe.separate:
            raise ValueError(
                f"model.latent_dim is {latent_dim}, but solutions are separate, so that model=auto takes a categorical "
                "latent: set model.separate.components, or name a model, model=dense."
            )
        if latent_dim is not None:
            cfg.model.continuum.latent_dim = latent_dim
        # resolved before it moves, since relative interpolations would point elsewhere
        cfg.model = plain(cfg.model.separate if cfg.recipe.separate else cfg.model.continuum)


def gradient_alignment(problem: Problem, guess: float = GUESS, samples: int = 2_000, seed: int = 0) -> float:
    """Mean cosine between minus the gradient of the squared misfit and the way to the solution.

    From solutions disturbed by ``guess`` (as a share of the range). Near 1 where the misfit is a bowl around the
    solution, near 0 where f turns within the disturbance and its gradient points anywhere.
    """
    generator = stream(seed, 12)
    geometry = problem.geometry
    true = geometry.sample(samples, generator)
    noise = torch.randn(true.shape, generator=generator) * guess * geometry.span
    start = geometry.project(true + noise).requires_grad_()
    with torch.enable_grad():
        residual = problem.forward(geometry.to_lines(start)) - problem.forward(geometry.to_lines(true))
        if not residual.requires_grad:
            return 0.0  # f does not depend on the lines
        (gradient,) = torch.autograd.grad(residual.square().sum(), start)
    cosine = torch.nn.functional.cosine_similarity(-gradient.flatten(1), (true - start.detach()).flatten(1), dim=1)
    return float(cosine.nan_to_num(nan=0.0).mean())
