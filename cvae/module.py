"""The LightningModule: where network, objective, problem and measures meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import instantiate
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MetricCollection

from cvae import checkpoints
from cvae.data.batches import Batch
from cvae.draws import point_set
from cvae.evaluation import Drawn, draw_and_check
from cvae.losses import LossTerms, Objective, Weights
from cvae.metrics import ActiveUnits, AgainstReferences, line_metrics
from cvae.networks import LatentNetwork, Reconstruction
from cvae.partials import plain_call
from cvae.pieces import piece_size, pieces
from cvae.problems import Problem
from cvae.seeds import stream

TERMS = ("loss", "x_term", "y_term", "kl")
MakeOptimizer = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
Schedule = Callable[[float], float]


class CVAE(LightningModule):
    """A conditional variational autoencoder that inverts a problem.

    Args:
        network: encoder, prior and decoder.
        objective: the loss.
        problem: forward operator and validity.
        draws: solutions drawn for each condition when validating and testing.
        points: name of the point set that draws start from, ``random`` or ``sobol``.
        temperature: spread of the latent when drawing, see :meth:`cvae.networks.LatentNetwork.draw`.
        optimizer: from parameters to an optimizer; needed for training only.
        schedule: learning-rate factor as a function of the share of training that is done.
        seed: fixes the draws of validation and test.
        config: plain data from which :meth:`from_config` builds the same model; stored in checkpoints.
    """

    def __init__(
        self,
        network: LatentNetwork,
        objective: Objective,
        problem: Problem,
        draws: int = 30,
        points: str = "random",
        temperature: float = 1.0,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if draws < 1:
            raise ValueError(f"evaluation.draws is {draws}; it must be at least 1.")
        self.network = network
        self.objective = objective
        self.problem = problem
        self.draws = draws
        self.points = point_set(points)
        if not temperature > 0:
            raise ValueError(f"evaluation.temperature is {temperature}; it must be positive.")
        self.temperature = temperature
        self.make_optimizer = optimizer
        self.schedule = plain_call(schedule) if schedule is not None else None
        self.seed = seed
        self.config = dict(config) if config is not None else None
        self._sums: dict[str, list[tuple[Tensor, int]]] = {}
        self.val_metrics = line_metrics(problem).clone(prefix="val/")
        self.test_metrics = line_metrics(problem).clone(prefix="test/")
        self._active: ActiveUnits | None = None
        self._references: dict[str, AgainstReferences] = {}
        self._information: list[Tensor] = []
        self._compiled: Callable[[Tensor, Tensor], Reconstruction] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook here fifty times a step, and a module's own way of setting is slow
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **parts: Any) -> CVAE:
        """Build a model from plain data.

        Args:
            config: ``problem``, ``model``, ``loss`` and ``evaluation``, without interpolations.
            parts: further arguments of the constructor (optimizer, schedule, seed).
        """
        return cls(
            network=instantiate(config["model"]),
            objective=instantiate(config["loss"]),
            problem=Problem.from_config(**config["problem"]),
            config=config,
            **config["evaluation"],
            **parts,
        )

    @classmethod
    def load(cls, path: str | Path, allow: Iterable[str] = ()) -> CVAE:
        """A trained model from a checkpoint alone, on the CPU and in evaluation mode.

        Args:
            path: the ``.ckpt`` file.
            allow: dotted names that its config may ask for beside the project's own, see
                :func:`cvae.checkpoints.read_checkpoint`.

        Raises:
            FileNotFoundError: if there is no such file.
            cvae.checkpoints.CheckpointError: if it is damaged or asks for anything outside the allow-list.
        """
        config, weights = checkpoints.read_checkpoint(path, allow)
        try:
            model = cls.from_config(config)
            model.load_state_dict(weights)
        except Exception as error:
            raise checkpoints.CheckpointError(
                f"{path}: its config and weights do not make a model ({error})."
            ) from error
        return model.eval()

    # --- use

    @torch.no_grad()
    def draw(self, y: Tensor, draws: int, generator: torch.Generator, temperature: float | None = None) -> Tensor:
        """Sample solutions.

        Args:
            y: conditions ``(batch, conditions, points)``.
            draws: solutions for each condition.
            generator: source of all randomness.
            temperature: above 1 the latent is spread wider than its prior; None takes the model's own.

        Returns:
            ``(batch, draws, lines, points)``, not checked.
        """
        u = self.points(len(y), draws, self.network.noise_dim, generator)
        spread = self.temperature if temperature is None else temperature
        size = piece_size(y.device, self.problem.geometry.lines * self.problem.geometry.points)
        if len(y) * draws <= size:
            return self.network.draw(y, u.to(y), spread)
        x = None
        for some, part in pieces(len(y), draws, size):
            piece = self.network.draw(y[some], u[some, part].to(y), spread)
            x = piece.new_empty(len(y), draws, *piece.shape[2:]) if x is None else x
            x[some, part] = piece
        return cast(Tensor, x)

    # --- training

    def compile_training(self) -> None:
        """Compile what a training step computes of the network; its weights keep their names."""
        # a last, smaller batch is compiled as well, rather than all for any size
        self._compiled = torch.compile(self.network.reconstruct, dynamic=False)

    def setup(self, stage: str) -> None:
        self._active = ActiveUnits(self.network.latent_dim, self.network.active_variance).to(self.device)
        if stage == "fit" and self.trainer.ckpt_path is None:
            train: Batch = self._data.splits.train
            self.network.fit_scale(train.x, train.y)

    def on_train_epoch_start(self) -> None:
        self._seed_noise(self.current_epoch)

    def on_validation_start(self) -> None:
        # within a training it would give the steps after it the noise of other steps again
        if self.trainer.state.fn != "fit":
            self._seed_noise(0, 0)

    def on_test_start(self) -> None:
        self._seed_noise(0, 1)

    def _seed_noise(self, *keys: int) -> None:
        """Start the generator that the posterior is sampled with, so that a training that is resumed at an epoch goes
        on as one that was not interrupted, and each process has noise of its own."""
        torch.manual_seed(stream(self.seed, *keys, self.global_rank, 4).initial_seed())

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        weights = self.objective.weights_at(self.global_step, self._total_steps)
        return self._step(batch, "train", weights)[0].total.mean()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        _, reconstruction = self._step(batch, "val")
        cast(ActiveUnits, self._active).update(reconstruction.code)
        if batch_index == 0:
            self._information.append(self.network.information(batch.x, batch.y))

    def test_step(self, batch: Batch, batch_index: int) -> None:
        self._step(batch, "test")

    def _step(self, batch: Batch, stage: str, weights: Weights | None = None) -> tuple[LossTerms, Reconstruction]:
        """The one step that training, validation and test share."""
        # compiled for the batches of training alone: others have other shapes, and are few
        reconstruct = self.network.reconstruct if stage != "train" or self._compiled is None else self._compiled
        reconstruction = reconstruct(batch.x, batch.y)
        terms = self.objective(reconstruction, batch.x, batch.y, self.problem.forward, weights)
        # sums stay on the device: reading them every step would stall it
        self._sums.setdefault(stage, []).append((torch.stack(terms).detach().sum(1), len(batch.x)))
        return terms, reconstruction

    def on_train_epoch_end(self) -> None:
        self._log_terms("train")
        self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_end(self) -> None:
        self._log_terms("val")
        active = cast(ActiveUnits, self._active)
        self.log("val/active_units", active.compute())
        active.reset()
        # estimated on the first batch of each process: with more samples it costs their square
        self.log("val/information", self._information.pop(), sync_dist=self.trainer.world_size > 1)
        self._log_draws("validation", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        self._log_terms("test")
        self._log_draws("test", self.test_metrics)

    def evaluate(self, y: Tensor, key: int) -> Iterator[Drawn]:
        """Draws for this process's share of the conditions ``y``, the same for the same ``key``."""
        decode = partial(self.network.draw, temperature=self.temperature)
        return draw_and_check(
            decode, self.problem, y, self.draws, self.network.noise_dim, self.points, stream(self.seed, key, 3),
            self.global_rank, self.trainer.world_size,
        )  # fmt: skip

    def _log_draws(self, stage: str, metrics: MetricCollection) -> None:
        against = self._against(stage)
        for drawn in self.evaluate(self._data.conditions(stage).y, key=("validation", "test").index(stage)):
            metrics.update(drawn.x, drawn.check)
            against.update(drawn)
        self.log_dict(metrics.compute() | against.compute(metrics.prefix), prog_bar=False)
        metrics.reset()
        against.reset()

    def _against(self, stage: str) -> AgainstReferences:
        """The measures against reference sets; these are searched once and then kept."""
        if stage not in self._references:
            references = self._data.references(stage)
            self._references[stage] = AgainstReferences(self.problem, references, self.draws).to(self.device)
        return self._references[stage]

    def _log_terms(self, stage: str) -> None:
        # reduced by hand: Lightning's own mean over processes would weigh unequal shares alike
        parts = self._sums.pop(stage)
        total = torch.stack([part for part, _ in parts]).sum(0)
        sums = torch.cat([total, total.new_tensor([float(sum(count for _, count in parts))])])
        if self.trainer.world_size > 1:
            sums = cast(Tensor, self.trainer.strategy.reduce(sums, reduce_op="sum"))
        means = sums[:-1] / sums[-1]
        self.log_dict({f"{stage}/{name}": mean for name, mean in zip(TERMS, means, strict=True)})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self.make_optimizer is None:
            raise ValueError("this model was built for use, not for training: it has no optimizer.")
        optimizer = self.make_optimizer(self.parameters())
        if self.schedule is None:
            return optimizer
        total, schedule = self._total_steps, self.schedule
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step / total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[checkpoints.KEY] = {"format": checkpoints.FORMAT, "config": self.config}

    @cached_property
    def _total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return max(int(self.trainer.estimated_stepping_batches), 1)

    @property
    def _data(self) -> Any:
        """The data module, typed loosely: any that has ``splits`` and ``conditions`` will do."""
        return self.trainer.datamodule  # type: ignore[attr-defined]
