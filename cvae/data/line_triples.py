"""The data module of the reference task: solutions made of straight lines, and their conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import LightningDataModule
from torch import Tensor

from cvae.data.batches import Batch, EpochSampler, TensorLoader
from cvae.data.sources import Source, Splits, simulate
from cvae.data.tolerance import SmoothTolerance
from cvae.problems import Problem
from cvae.problems.reference import ReferenceSet, cached_reference_sets
from cvae.seeds import stream


class LineTriples(LightningDataModule):
    """Line triples as tensors on the training device; batches are index slices.

    Args:
        points, directions, range, forward, gates: the problem, see :meth:`cvae.problems.Problem.from_config`.
        source: where the triples come from, :class:`~cvae.data.Simulation` or :class:`~cvae.data.LineFiles`, or the
            config of one.
        batch_size: triples per step and process.
        fresh: simulate new training triples each epoch instead of visiting the same again.
        tolerance: largest perturbation of ``y`` in training, as a share of ``gates.rmse``; 0 trains on exact ``y``.
        evaluation: for ``validation`` and ``test``, for how many conditions solutions are drawn; for ``references``,
            how many of these get a reference set.
        cache: folder in which reference sets are kept; None searches them anew.
        sizes: ``lines``, ``points``, ``conditions`` as the model's config reads them; checked against the data.
        trust_y: accept files whose ``y`` differ from ``f(x)``.
        seed: fixes simulation, order and perturbation.

    Raises:
        ValueError: for a config that makes no sense; the message names the entry.
    """

    def __init__(
        self,
        points: int,
        directions: Sequence[str],
        range: Sequence[float],
        forward: Sequence[str] | Mapping[str, Any],
        gates: Mapping[str, float],
        source: Source | Mapping[str, Any],
        batch_size: int,
        fresh: bool = False,
        tolerance: float = 0.0,
        evaluation: Mapping[str, int] | None = None,
        sizes: Mapping[str, int] | None = None,
        cache: str | None = None,
        trust_y: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if tolerance < 0:
            raise ValueError(f"data.tolerance is {tolerance}; it must be 0 or more.")
        self._problem = Problem.from_config(points, directions, range, forward, gates)
        # a config where Hydra was told to build nothing inside: it would call a function named by data.forward
        self.source: Source = instantiate(source) if isinstance(source, Mapping) else source
        self.batch_size = batch_size
        self.fresh = fresh
        self.tolerance = tolerance
        self.evaluation = {"validation": 100, "test": 500, "references": 0} | dict(evaluation or {})
        self.cache = Path(cache) if cache is not None else None
        for name, count in self.evaluation.items():
            least = 0 if name == "references" else 1
            if name not in ("validation", "test", "references") or count < least:
                raise ValueError(
                    f"data.evaluation.{name} is {count}; validation and test need at least 1 condition each, "
                    "references may be 0."
                )
        self.seed = seed
        self.trust_y = trust_y
        self._splits: Splits | None = None
        if fresh and not hasattr(self.source, "sizes"):
            raise ValueError("data.fresh=true needs simulated data; files hold a fixed set of triples.")
        self._check_sizes(sizes or {})

    def _check_sizes(self, sizes: Mapping[str, int]) -> None:
        geometry = self._problem.geometry
        true = {"lines": geometry.lines, "points": geometry.points, "conditions": self._problem.forward.conditions}
        for name, size in sizes.items():
            if name not in true:
                raise ValueError(f"data.sizes.{name} is unknown; data.sizes holds {', '.join(true)}.")
            if true[name] != size:
                raise ValueError(
                    f"data.sizes.{name} is {size}, but data.forward and data.directions give {true[name]}; "
                    f"set data.sizes.{name}={true[name]}."
                )

    @property
    def problem(self) -> Problem:
        """The problem, with the directions that the data show."""
        self.setup()
        return self._problem

    def setup(self, stage: str | None = None) -> None:
        """Simulate or read the triples once, and move them to the training device."""
        if self._splits is None:
            self._problem, self._splits = self.source.load(self._problem, self.seed, self.trust_y)
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            self._splits = Splits(*(Batch(split.x.to(device), split.y.to(device)) for split in self._splits))

    @property
    def splits(self) -> Splits:
        """All triples."""
        self.setup()
        assert self._splits is not None
        return self._splits

    def conditions(self, stage: str) -> Batch:
        """The fixed triples of ``stage`` (``validation`` or ``test``) for whose ``y`` solutions are drawn."""
        split = getattr(self.splits, stage)
        count = self.evaluation[stage]
        return Batch(split.x[:count], split.y[:count])

    def references(self, stage: str) -> list[ReferenceSet]:
        """Reference sets of the first of :meth:`conditions`, searched or from the cache.

        ``evaluation["references"]`` says for how many.
        """
        chosen = Batch(*(part[: self.evaluation["references"]].cpu() for part in self.conditions(stage)))
        if len(chosen.x) == 0:
            return []
        known = self._problem.geometry.to_endpoints(chosen.x) if not self.trust_y else None
        return cached_reference_sets(self._problem, chosen.y, self.cache, known=known)

    def train_dataloader(self) -> TensorLoader:
        perturb = None
        if self.tolerance > 0:
            perturb = SmoothTolerance(self._problem.geometry.points, self.tolerance * self._problem.gates.rmse)
        train = self.splits.train
        return self._loader(train, shuffle=True, refresh=self._simulate if self.fresh else None, perturb=perturb)

    def val_dataloader(self) -> TensorLoader:
        return self._loader(self.splits.validation, shuffle=False)

    def test_dataloader(self) -> TensorLoader:
        return self._loader(self.splits.test, shuffle=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches already are on the device."""
        return batch

    def _loader(self, data: Batch, *, shuffle: bool, **options: Any) -> TensorLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(len(data.x), shuffle=shuffle, seed=self.seed, rank=rank, world=world)
        # evaluation needs no gradients, so its batches may be larger
        size = self.batch_size if shuffle else max(self.batch_size, 1_000)
        return TensorLoader(data, size, sampler, **options)

    def _simulate(self, epoch: int) -> Batch:
        like: Tensor = self.splits.train.x
        return simulate(self._problem, len(like), stream(self.seed, epoch, 2, device=like.device))
