"""The LightningModule of every generative model: optimisation, logged terms, measured draws and checkpoints."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from hydra.utils import instantiate
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MetricCollection

from cvae.data.batches import Batch
from cvae.errors import UserError, innermost
from cvae.losses import Progress, Schedule
from cvae.metrics import Drawn
from cvae.models import checkpoints
from cvae.models.divergence import check_finite
from cvae.sampling import find_point_set
from cvae.seeds import Purpose, stream
from cvae.tasks import Problem, Task

MakeOptimizer = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]

#: conditions and draws that are drawn and measured at once; several processes share the conditions in such portions
CONDITIONS, DRAWS = 25, 65_536
#: training steps after which losses are looked at, which an accelerator has to be waited for
LOOKED_AT = 50


@dataclass(frozen=True)
class Evaluation:
    """How plain draws are made, when validating, when testing and in later use.

    Args:
        draws: solutions for each condition when validating and testing.
        point_set: point set that draws start from, ``random`` or ``sobol``.
        temperature: of a latent, its spread: above 1 it is wider than its prior; of an energy ``E`` the ``T`` in
            ``exp(-E/T)``.
        steps, step_size: of the Langevin dynamics of an energy model; no other has any.

    Raises:
        UserError: for a number or a name that makes no sense.
    """

    draws: int = 30
    point_set: str = "random"
    temperature: float = 1.0
    steps: int | None = None
    step_size: float | None = None

    def __post_init__(self) -> None:
        if type(self.draws) is not int or self.draws < 1:  # True is an int as well
            raise UserError(f"evaluation.draws is {self.draws!r}; it must be a whole number of at least 1.")
        if not self.temperature > 0:
            raise UserError(f"evaluation.temperature is {self.temperature}; it must be positive.")
        find_point_set(self.point_set)


@dataclass(frozen=True)
class Training:
    """What a model needs to be trained.

    Args:
        optimizer: from parameters to an optimizer.
        schedule: learning-rate factor as a function of the share of training that is done; None keeps the rate.
    """

    optimizer: MakeOptimizer
    schedule: Schedule | None = None


class Generative(LightningModule, ABC):
    """A model that learns from pairs (x, y) to draw x given y; a :class:`~cvae.models.sampler.Sampler`.

    A subclass gives :meth:`loss`, :meth:`draw`, the names of its :attr:`terms` and the type of its network.

    Args:
        network: what is trained.
        objective: the loss.
        task: what x and y are, and what counts.
        evaluation: how plain draws are made.
        training: optimizer and schedule; needed for training only.
        seed: fixes the draws of validation and test.
        config: plain data from which :meth:`from_config` builds the same model; stored in checkpoints. None takes it
            from the parts, which know how they were made (:func:`cvae.recording.recorded`).
    """

    #: names of the terms that :meth:`loss` gives
    terms: tuple[str, ...] = ("loss",)
    #: what the network must be
    network_type: ClassVar[type[nn.Module]] = nn.Module
    #: the same in words, with a remedy
    network_needed: ClassVar[str] = ""

    def __init__(
        self,
        network: nn.Module,
        objective: Any,
        task: Task,
        evaluation: Evaluation | None = None,
        training: Training | None = None,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.task = task
        self.evaluation = evaluation or Evaluation()
        self.training_parts = training
        self.seed = seed
        if config is None:
            config = checkpoints.config_of(self.evaluation, task=task, model=network, loss=objective)
        self.config = dict(config) if config is not None else None
        #: whether the weights, and the units of x and y, are those of an earlier training
        self.pretrained = False
        self._sums: dict[str, list[tuple[Tensor, int]]] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self.val_metrics = task.measures().clone(prefix="val/")
        self.test_metrics = task.measures().clone(prefix="test/")
        self._data_metrics: dict[str, MetricCollection] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook here fifty times a step, and a module's own way of setting is slow
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], task: Task | None = None, training: Training | None = None, seed: int = 0
    ) -> Self:
        """A model from plain data; its class follows from the loss (:func:`cvae.models.kinds.kind_of`).

        Args:
            config: ``task``, ``model``, ``loss`` and ``evaluation``, without interpolations.
            task: the task, if it has been built already.
            training: optimizer and schedule.
            seed: see the constructor.

        Raises:
            UserError: if the config means another class than this one and those derived from it.
        """
        kind = cls._kind(config)
        if task is None:
            # not by Hydra inside: it would call a function that the forward operator names
            task = cast(Task, instantiate(config["task"], _convert_="all", _recursive_=False))
        return kind(
            network=instantiate(config["model"], _convert_="all"),
            objective=instantiate(config["loss"], _convert_="all"),
            task=task,
            evaluation=Evaluation(**config["evaluation"]),
            training=training,
            seed=seed,
            config=config,
        )

    @classmethod
    def load(cls, path: str | Path, allow: Iterable[str] = ()) -> Self:
        """A trained model from a checkpoint alone, on the CPU and in evaluation mode.

        Args:
            path: the ``.ckpt`` file.
            allow: dotted names that its config may ask for beside the project's own, see
                :func:`cvae.models.checkpoints.read_checkpoint`.

        Raises:
            cvae.errors.MissingFileError: if there is no such file.
            UserError: if it holds a model of another class than this one and those derived from it.
            cvae.models.checkpoints.CheckpointError: if it is damaged or asks for anything outside the allow-list.
        """
        config, weights = checkpoints.read_checkpoint(path, allow)
        cls._kind(config, f"{path}: ")
        try:
            with checkpoints.no_larger_than(path, weights):
                model = cls.from_config(config)
        except Exception as error:
            cause = innermost(error)
            if isinstance(cause, checkpoints.CheckpointError):
                raise cause from None
            raise checkpoints.CheckpointError(
                f"{path}: its config does not make a model ({cause}); it is damaged or of another version. Read it "
                "with the version that wrote it, or train anew."
            ) from error
        checkpoints.check_fit(path, weights, model)
        model.load_state_dict(weights)
        return model.eval()

    @classmethod
    def _kind(cls, config: Mapping[str, Any], where: str = "") -> type[Self]:
        # here, since the classes of models derive from this one
        from cvae.models.kinds import kind_of

        kind = kind_of(config)
        if not issubclass(kind, cls):
            raise UserError(
                f"{where}its loss is that of {kind.__name__}, but a model of the kind {cls.__name__} is needed here; "
                "in Python, cvae.models.Generative.load reads any."
            )
        return kind

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any], task: Task) -> None:
        """Check the entries of a run's config that a model of this class may have no use for.

        Args:
            settings: the whole config, of which the shared entries are filled in.
            task: what x and y are.

        Raises:
            UserError: for one that would be ignored, and for a task that the model cannot learn.
        """

    def initialize(self, path: str | Path) -> None:
        """Take the weights of a checkpoint, with the units of x and y that they were trained in, for fine-tuning.

        Raises:
            cvae.errors.MissingFileError: if there is no such file.
            cvae.models.checkpoints.CheckpointError: if it is damaged, or of a model of other shapes or another head.
        """
        content = checkpoints.read_content(path)
        weights = self._taken(content["state_dict"])
        checkpoints.check_fit(path, weights, self)
        checkpoints.check_head(path, content, self.network)
        self.load_state_dict(weights)
        self.pretrained = True

    def _taken(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a new training takes of the weights of another one."""
        return weights

    # --- what a subclass gives

    @abstractmethod
    def loss(self, batch: Batch, progress: Progress | None = None) -> dict[str, Tensor]:
        """Named per-sample terms, each ``(batch,)``; ``loss`` is minimised.

        Args:
            batch: solutions and conditions.
            progress: where training is; None when validating and testing.
        """

    @abstractmethod
    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` for conditions ``(batch, *y_shape)``, not checked."""

    def log_likelihood(self, batch: Batch, samples: int = 100) -> Tensor:
        """``log p(x|y)`` in nats, ``(batch,)``, the more exact the more ``samples``.

        Raises:
            UserError: for a model without an estimate.
        """
        raise UserError(f"{type(self).__name__} gives no estimate of the likelihood.")

    # --- training

    def compile_training(self) -> None:
        """Compile what a training step computes of the network.

        Raises:
            UserError: for a model without such a step.
        """
        raise UserError(f"compile is true, but {type(self).__name__} has nothing to compile; set compile=false.")

    @property
    def problem(self) -> Problem:
        """The inverse problem that the model was made for.

        Raises:
            UserError: for a task without a forward operator.
        """
        if not isinstance(self.task, Problem):
            raise UserError("this model's task has no forward operator, so its draws cannot be checked or refined.")
        return self.task

    def on_train_epoch_start(self) -> None:
        """Start the noise of the epoch."""
        self._seed_noise(self.current_epoch)

    def on_validation_start(self) -> None:
        """Start the noise of a validation outside of a training; within one, see that it has not diverged."""
        # within a training it would give the steps after it the noise of other steps again
        if self.trainer.state.fn != "fit":
            self._seed_noise(0, 0)
        elif not self.trainer.sanity_checking:
            self._check_finite(weights=True)

    def on_test_start(self) -> None:
        """Start the noise of a test."""
        self._seed_noise(0, 1)

    def _seed_noise(self, *keys: int) -> None:
        """Start the generator that the posterior is sampled with, so that a training that is resumed at an epoch goes
        on as one that was not interrupted, and each process has noise of its own."""
        torch.manual_seed(stream(Purpose.POSTERIOR, self.seed, *keys, self.global_rank).initial_seed())

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Mean loss of a batch, a number; its terms are noted.

        Raises:
            DivergedError: if a loss of one of the last :data:`LOOKED_AT` steps is not finite. At the end of an epoch,
                before anything is measured or kept, the rest of them and the weights are looked at; a step does not
                wait for the device.
        """
        terms = self.loss(batch, Progress(self.global_step, self._total_steps))
        self._note("train", terms)
        if len(self._sums["train"]) % LOOKED_AT == 0:
            self._check_finite()
        return terms["loss"].mean()

    def _check_finite(self, weights: bool = False) -> None:
        """Raise an error if the loss of one of the last steps, or a weight, is not finite."""
        sums = self._sums.get("train", [])
        if sums:
            last = torch.stack([terms for terms, _ in sums[-LOOKED_AT:]])
            check_finite(self, last, self._names["train"], steps=len(sums), weights=weights)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Note the terms of a batch."""
        self._note("val", self.loss(batch))

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Note the terms of a batch."""
        self._note("test", self.loss(batch))

    def _note(self, stage: str, terms: Mapping[str, Tensor]) -> None:
        # sums stay on the device: reading them every step would stall it
        self._names[stage] = tuple(terms)
        sums = torch.stack(list(terms.values())).detach().sum(1)
        self._sums.setdefault(stage, []).append((sums, len(terms["loss"])))

    def on_train_epoch_end(self) -> None:
        """See that the training has not diverged; log terms and learning rate."""
        self._check_finite(weights=True)
        self._log_terms("train")
        self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_end(self) -> None:
        """Log terms and measured draws."""
        self._log_terms("val")
        self._log_draws("validation", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Log terms and measured draws."""
        self._log_terms("test")
        self._log_draws("test", self.test_metrics)

    def evaluate(self, y: Tensor, key: int) -> Iterator[Drawn]:
        """Draws for this process's share of the conditions ``y`` ``(count, *y_shape)``, the same for the same ``key``
        whatever the number of processes."""
        draws = self.evaluation.draws
        index = torch.arange(len(y), device=y.device)
        portions = index.split(max(min(CONDITIONS, DRAWS // draws), 1))
        for number, which in list(enumerate(portions))[self.global_rank :: self.trainer.world_size]:
            generator = stream(Purpose.EVALUATION, self.seed, key, number)
            with torch.no_grad():
                yield self.task.drawn(which, self.draw(y[which], draws, generator), y[which])

    def _log_draws(self, stage: str, metrics: MetricCollection) -> None:
        from_data = self._measures_from_data(stage, cast(str, metrics.prefix))
        for drawn in self.evaluate(self._data.conditions(stage).y, key=("validation", "test").index(stage)):
            for measures in (metrics, from_data):
                measures.update(drawn)
        for measures in (metrics, from_data):
            self.log_dict(measures.compute())
            measures.reset()

    def _measures_from_data(self, stage: str, prefix: str) -> MetricCollection:
        """The measures of draws that need the pairs, made once."""
        if stage not in self._data_metrics:
            found: MetricCollection = self._data.measures(stage, self.evaluation.draws)
            self._data_metrics[stage] = found.clone(prefix=prefix).to(self.device)
        return self._data_metrics[stage]

    def _log_terms(self, stage: str) -> None:
        # reduced by hand: Lightning's own mean over processes would weigh unequal shares alike
        parts = self._sums.pop(stage)
        total = torch.stack([sums for sums, _ in parts]).sum(0)
        sums = torch.cat([total, total.new_tensor([float(sum(count for _, count in parts))])])
        if self.trainer.world_size > 1:
            sums = cast(Tensor, self.trainer.strategy.reduce(sums, reduce_op="sum"))
        self.log_dict({f"{stage}/{name}": sums[place] / sums[-1] for place, name in enumerate(self._names[stage])})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, and its schedule as a factor for each step."""
        if self.training_parts is None:
            raise ValueError("this model was built for use, not for training: it has no optimizer.")
        optimizer = self.training_parts.optimizer(self.parameters())
        schedule = self.training_parts.schedule
        if schedule is None:
            return optimizer
        total = self._total_steps
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step / total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the config, as plain data, to a checkpoint; a warning says if there is none."""
        if self.config is None:
            warnings.warn(
                f"no config of this {type(self).__name__} is known, so its checkpoints cannot be loaded by themselves. "
                f"{checkpoints.NO_CONFIG}",
                stacklevel=2,
            )
        checkpoint[checkpoints.KEY] = {"format": checkpoints.FORMAT, "config": self.config}

    @cached_property
    def _total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return max(int(self.trainer.estimated_stepping_batches), 1)

    @property
    def _data(self) -> Any:
        """The data module, typed loosely: any that has ``splits``, ``conditions`` and ``measures`` will do."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @classmethod
    def measured(cls) -> set[str]:
        """Names of what training and validation measure beside the draws."""
        return {f"{stage}/{term}" for stage in ("train", "val") for term in cls.terms} | {"train/lr"}
