"""The base of every data module: pairs of solutions and conditions as tensors on the training device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypedDict

import torch
from lightning import LightningDataModule
from torch import Tensor
from torchmetrics import MetricCollection

from cvae.data.batches import Batch, EpochSampler, TensorLoader
from cvae.errors import UserError
from cvae.inversion import ReferenceSet
from cvae.seeds import check_seed
from cvae.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Splits(NamedTuple):
    """Training, validation and test pairs."""

    train: Batch
    validation: Batch
    test: Batch


@dataclass(frozen=True)
class Counts:
    """For how many conditions solutions are drawn.

    Args:
        validation, test: conditions of each stage, at least 1.
        references: of these, for how many the reference sets are searched.

    Raises:
        UserError: for fewer.
    """

    validation: int = 100
    test: int = 500
    references: int = 0

    def __post_init__(self) -> None:
        for name, least in (("validation", 1), ("test", 1), ("references", 0)):
            if getattr(self, name) < least:
                raise UserError(f"data.evaluation.{name} is {getattr(self, name)}; it must be at least {least}.")


class CountSettings(TypedDict, total=False):
    """Types of ``data.evaluation``."""

    validation: int
    test: int
    references: int


class TrainedModel(Protocol):
    """What a report needs of a model."""

    #: with a latent, or another one, whose ``draw`` is the model's alone
    network: Any

    @property
    def device(self) -> torch.device:
        """Where the network is."""

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` for conditions ``(batch, *y_shape)``."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named per-sample terms, each ``(batch,)``."""

    def log_likelihood(self, batch: Batch, samples: int = 100) -> Tensor:
        """``log p(x|y)`` in nats, ``(batch,)``, the more exact the more ``samples``."""


class Report(NamedTuple):
    """Measures and pictures of a trained model, by name."""

    measures: Mapping[str, float] = {}
    figures: Mapping[str, Figure] = {}


class PairData(LightningDataModule):
    """Pairs of a task as tensors on the training device; batches are index slices.

    A subclass gives :meth:`load`, and a static method ``make_task(config)`` that builds its task alone.

    Args:
        task: what x and y are.
        batch_size: pairs per step and process.
        evaluation: the arguments of :class:`Counts`.
        seed: fixes the order of the training pairs.

    Raises:
        UserError: for a number that makes no sense; the message names the entry.
    """

    #: names of what :meth:`measures` gives
    measured: ClassVar[tuple[str, ...]] = ()
    #: those of them of which less is better
    lower_is_better: ClassVar[tuple[str, ...]] = ()

    def __init__(self, task: Task, batch_size: int, evaluation: CountSettings | None = None, seed: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"data.batch_size is {batch_size}; it must be at least 1.")
        check_seed("data.seed", seed)
        self.task = task
        self.batch_size = batch_size
        self.counts = Counts(**(evaluation or {}))
        self.seed = seed
        self._splits: Splits | None = None

    @abstractmethod
    def load(self) -> Splits:
        """All pairs, on the CPU."""

    def refreshed(self) -> Callable[[int], Batch] | None:
        """Training pairs for the epoch of a number; None visits the same again."""
        return None

    def perturbed(self) -> Callable[[Tensor, torch.Generator], Tensor] | None:
        """What the network sees of the ``y`` of a training batch; None shows them as they are."""
        return None

    def references(self, stage: str) -> Sequence[ReferenceSet]:
        """Reference sets of the first of :meth:`conditions`; none for a task without a forward operator."""
        return []

    def measures(self, stage: str, draws: int) -> MetricCollection:
        """Measures of ``draws`` draws for each of :meth:`conditions` that the task cannot make without the pairs.

        What takes long, such as the training of a classifier, is done once and kept.
        """
        return MetricCollection({})

    def report(self, model: TrainedModel) -> Report:
        """What is measured and shown once, after the training, with the model that was kept, in evaluation mode.

        The measures become ``test/NAME`` in the run's result, the pictures ``figures/NAME.png`` in the run's folder.
        """
        return Report()

    def setup(self, stage: str | None = None) -> None:
        """Make or read the pairs once, and move them to the training device."""
        if self._splits is None:
            self._splits = self.load()
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            self._splits = Splits(*(Batch(split.x.to(device), split.y.to(device)) for split in self._splits))

    @property
    def splits(self) -> Splits:
        """Training, validation and test pairs."""
        if self._splits is None:
            self.setup()
        assert self._splits is not None
        return self._splits

    def conditions(self, stage: str) -> Batch:
        """The fixed pairs of ``stage`` (``validation`` or ``test``) for whose ``y`` solutions are drawn."""
        split: Batch = getattr(self.splits, stage)
        count: int = getattr(self.counts, stage)
        return Batch(split.x[:count], split.y[:count])

    def train_dataloader(self) -> TensorLoader:
        """Shuffled training pairs."""
        return self._loader(self.splits.train, shuffle=True, refresh=self.refreshed(), perturb=self.perturbed())

    def val_dataloader(self) -> TensorLoader:
        """All validation pairs."""
        return self._loader(self.splits.validation, shuffle=False)

    def test_dataloader(self) -> TensorLoader:
        """All test pairs."""
        return self._loader(self.splits.test, shuffle=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches as they are: they already are on the device."""
        return batch

    def _loader(self, data: Batch, *, shuffle: bool, **options: Any) -> TensorLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(len(data.x), shuffle=shuffle, seed=self.seed, rank=rank, world=world)
        # evaluation needs no gradients, so its batches may be larger
        size = self.batch_size if shuffle else max(self.batch_size, 1_000)
        return TensorLoader(data, size, sampler, **options)
