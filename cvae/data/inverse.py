"""The data modules of inverse problems: pairs of solutions and conditions, and reference sets of some conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

import torch
from hydra.utils import instantiate
from torch import Tensor
from torchmetrics import MetricCollection

from cvae.data.batches import Batch
from cvae.data.pairs import CountSettings, PairData, Splits
from cvae.data.sources import Source, simulate
from cvae.data.tolerance import SmoothTolerance
from cvae.errors import UserError
from cvae.inversion import ReferenceSet, cached_reference_sets, reference_measures
from cvae.seeds import Purpose, stream
from cvae.tasks import Problem, box_problem, line_problem
from cvae.tasks.space import PriorConfig


class InverseData(PairData):
    """Pairs of an inverse problem, and reference sets of some conditions.

    Args:
        problem: what is to be inverted.
        source: where the pairs come from, :class:`~cvae.data.Simulation` or :class:`~cvae.data.PairFiles`, or the
            config of one.
        batch_size: pairs per step and process.
        fresh: simulate new training pairs each epoch instead of visiting the same again.
        tolerance: largest perturbation of ``y`` in training, as a share of ``gates.rmse``; 0 trains on exact ``y``.
        evaluation: the arguments of :class:`~cvae.data.pairs.Counts`.
        cache: folder in which reference sets are kept; None searches them anew.
        seed: fixes simulation, order and perturbation.

    Raises:
        UserError: for a config that makes no sense; the message names the entry.
    """

    def __init__(
        self,
        problem: Problem,
        source: Source | Mapping[str, Any],
        batch_size: int,
        fresh: bool = False,
        tolerance: float = 0.0,
        evaluation: CountSettings | None = None,
        cache: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(problem, batch_size, evaluation, seed)
        if not tolerance >= 0:
            raise UserError(f"data.tolerance is {tolerance}; it must be 0 or more.")
        self.problem = problem
        # a config where Hydra was told to build nothing inside: it would call a function named by data.forward
        self.source: Source = instantiate(source) if isinstance(source, Mapping) else source
        if not hasattr(self.source, "load"):
            raise UserError(f"data.source is {source}, which gives no pairs; it must be a mapping with _target_.")
        self.fresh, self.tolerance = fresh, tolerance
        self.cache = Path(cache) if cache is not None else None
        self._references: dict[str, list[ReferenceSet]] = {}
        if fresh and not self.source.simulated:
            raise UserError("data.fresh=true needs simulated data; files hold a fixed set of pairs.")

    def load(self) -> Splits:
        """All pairs, simulated or read."""
        return self.source.load(self.problem, self.seed)

    def references(self, stage: str) -> list[ReferenceSet]:
        """Reference sets of the first of the conditions, searched or from the cache; ``evaluation.references`` says of
        how many. They are kept for later calls."""
        if stage not in self._references:
            self._references[stage] = self._searched(stage)
        return self._references[stage]

    def _searched(self, stage: str) -> list[ReferenceSet]:
        chosen = Batch(*(part[: self.counts.references].cpu() for part in self.conditions(stage)))
        if len(chosen.x) == 0:
            return []
        # where y carries noise, x is no exact solution
        known = self.problem.space.encode(chosen.x) if self.source.exact else None
        return cached_reference_sets(self.problem, chosen.y, self.cache, known=known)

    def measures(self, stage: str, draws: int) -> MetricCollection:
        """The measures against reference sets; these, and the limits of a choice from them, are found once and kept."""
        return reference_measures(self.problem, self.references(stage), draws, self.cache)

    def refreshed(self) -> Callable[[int], Batch] | None:
        """New simulations each epoch if ``fresh``."""
        return self._simulate if self.fresh else None

    def perturbed(self) -> Callable[[Tensor, torch.Generator], Tensor] | None:
        """A smooth perturbation within the tolerance."""
        return SmoothTolerance(self.problem, self.tolerance) if self.tolerance > 0 else None

    def _simulate(self, epoch: int) -> Batch:
        like: Tensor = self.splits.train.x
        generator = stream(Purpose.FRESH_SIMULATION, self.seed, epoch, device=like.device)
        return simulate(self.problem, len(like), generator)


class LineGates(TypedDict):
    """Types of ``data.gates`` of lines."""

    pearson: float
    rmse: float


class BoxGates(TypedDict):
    """Types of ``data.gates`` of vectors."""

    rmse: float


class LineSettings(TypedDict):
    """Types of the arguments of :func:`cvae.tasks.line_problem`."""

    points: int
    directions: Sequence[str]
    range: Sequence[float]
    forward: Sequence[str] | Mapping[str, Any]
    gates: LineGates
    prior: NotRequired[PriorConfig]


class BoxSettings(TypedDict):
    """Types of the arguments of :func:`cvae.tasks.box_problem`."""

    bounds: Sequence[Sequence[float]]
    forward: Sequence[str] | Mapping[str, Any]
    gates: BoxGates
    prior: NotRequired[PriorConfig]


class LineTriples(InverseData):
    """Line triples: solutions made of straight lines, and their conditions.

    Args:
        source, batch_size, fresh, tolerance, evaluation, cache, seed: see :class:`InverseData`.
        problem: the arguments of :func:`cvae.tasks.line_problem`.
    """

    def __init__(
        self,
        source: Source | Mapping[str, Any],
        batch_size: int,
        fresh: bool = False,
        tolerance: float = 0.0,
        evaluation: CountSettings | None = None,
        cache: str | None = None,
        seed: int = 0,
        **problem: Unpack[LineSettings],
    ) -> None:
        super().__init__(self.make_task(problem), source, batch_size, fresh, tolerance, evaluation, cache, seed)

    @staticmethod
    def make_task(config: Mapping[str, Any]) -> Problem:
        """The problem that a config of this class describes; entries about its pairs are passed over."""
        return line_problem(**{name: config[name] for name in LineSettings.__annotations__ if name in config})


class Vectors(InverseData):
    """Vectors of parameters in a box, and their conditions.

    Args:
        source, batch_size, fresh, tolerance, evaluation, cache, seed: see :class:`InverseData`.
        problem: the arguments of :func:`cvae.tasks.box_problem`.
    """

    def __init__(
        self,
        source: Source | Mapping[str, Any],
        batch_size: int,
        fresh: bool = False,
        tolerance: float = 0.0,
        evaluation: CountSettings | None = None,
        cache: str | None = None,
        seed: int = 0,
        **problem: Unpack[BoxSettings],
    ) -> None:
        super().__init__(self.make_task(problem), source, batch_size, fresh, tolerance, evaluation, cache, seed)

    @staticmethod
    def make_task(config: Mapping[str, Any]) -> Problem:
        """The problem that a config of this class describes; entries about its pairs are passed over."""
        return box_problem(**{name: config[name] for name in BoxSettings.__annotations__ if name in config})
