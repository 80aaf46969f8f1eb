"""The conditional variational autoencoder: where network, objective and task meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from cvae.data.batches import Batch
from cvae.errors import UserError
from cvae.losses import Objective, Progress
from cvae.metrics import ActiveUnits
from cvae.models.generative import Evaluation, Generative, Training
from cvae.models.sampler import AtTemperature, Sampler
from cvae.networks import LatentNetwork, Reconstruction
from cvae.sampling import chunk_size, find_point_set, in_chunks
from cvae.seeds import Purpose, stream
from cvae.tasks import Problem, Task

#: samples of the latent that are decoded at once for the likelihood
DECODED = 65_536
#: terms of the set objective, of a training that has one
SET_TERMS = ("set_coverage", "set_violation")


class CVAE(Generative):
    """A conditional variational autoencoder.

    Args:
        network: encoder, prior and decoder.
        objective: the loss.
        task: what x and y are, and what counts.
        evaluation: how plain draws are made.
        training: optimizer and schedule; needed for training only.
        seed: fixes the draws of validation and test.
        config: plain data from which :meth:`from_config` builds the same model; stored in checkpoints. None takes it
            from the parts, which know how they were made (:func:`cvae.recording.recorded`).
    """

    terms = ("loss", "x_term", "y_term", "kl")
    network_type = LatentNetwork
    network_needed = "this loss is for a network with a latent, such as model=dense; an energy needs another loss"
    network: LatentNetwork
    objective: Objective

    def __init__(
        self,
        network: LatentNetwork,
        objective: Objective,
        task: Task,
        evaluation: Evaluation | None = None,
        training: Training | None = None,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(network, objective, task, evaluation, training, seed, config)
        scale = task.x_scale(torch.empty(0))
        self.register_buffer("_x_scale", None if bool((scale == 1).all()) else scale.clone(), persistent=False)
        self._active: ActiveUnits | None = None
        self._information: list[Tensor] = []
        self._compiled: Callable[[Tensor, Tensor], Reconstruction] | None = None
        self._sets: torch.Generator | None = None
        if not isinstance(objective, Objective):
            raise UserError(f"loss._target_ makes a {type(objective).__name__}, which is no loss; choose loss=NAME.")
        if objective.set_objective.weight > 0 and not isinstance(task, Problem):
            raise UserError(
                f"loss.set_objective.weight is {objective.set_objective.weight}, but a task without a forward operator "
                "has no gates that sets of draws could be trained for; set it to 0."
            )

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any], task: Task) -> None:
        """Refuse a y-term without a forward operator, and steps of Langevin dynamics, see
        :meth:`Generative.check_settings`."""
        weight = settings["loss"].get("wy")
        if not isinstance(task, Problem) and isinstance(weight, int | float) and weight > 0:
            raise UserError(
                f"loss.wy is {weight}, but these data have no forward operator to compare with y; set loss.wy=0."
            )
        for name in ("steps", "step_size"):
            value = settings["evaluation"].get(name)
            if value is not None:
                raise UserError(
                    f"evaluation.{name} is {value}, but only an energy model draws in steps; set it to null."
                )

    # --- use

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` for conditions ``(batch, *y_shape)``, not checked."""
        return self._draw(y, draws, generator, self.evaluation.temperature)

    def tempered(self, temperature: float) -> Sampler:
        """The model as a sampler with another temperature than its own, see :class:`Evaluation`."""
        return AtTemperature(self._draw, temperature)

    @torch.no_grad()
    def _draw(self, y: Tensor, draws: int, generator: torch.Generator, temperature: float) -> Tensor:
        u = find_point_set(self.evaluation.point_set)(len(y), draws, self.network.noise_dim, generator)

        def decode(some: slice, part: slice) -> Tensor:
            return self.network.draw(y[some], u[some, part].to(y), temperature)

        return in_chunks(decode, len(y), draws, chunk_size(y.device, torch.Size(self.task.x_shape).numel()))

    # --- training

    def compile_training(self) -> None:
        """Compile what a training step computes of the network; its weights keep their names."""
        # a last, smaller batch is compiled as well, rather than all for any size
        self._compiled = torch.compile(self.network.reconstruct, dynamic=False)

    def on_train_epoch_start(self) -> None:
        """Start the noise of the epoch, that of the sets of draws included."""
        super().on_train_epoch_start()
        keys = (self.seed, self.current_epoch, self.global_rank)
        self._sets = stream(Purpose.SETS, *keys, device=self.device)

    def setup(self, stage: str) -> None:
        """Start the measure of active units; take the units of x and y from the training data of a new training."""
        self._active = ActiveUnits(self.network.latent_dim, self.network.active_variance).to(self.device)
        if stage == "fit" and self.trainer.ckpt_path is None and not self.pretrained:
            train: Batch = self._data.splits.train
            self.network.fit_scale(train.x, train.y)

    def loss(self, batch: Batch, progress: Progress | None = None) -> dict[str, Tensor]:
        """Named per-sample terms ``(batch,)``, see :meth:`cvae.losses.Objective.__call__`."""
        if progress is not None and self.objective.set_objective.active(progress):
            return self._loss_of_sets(batch, progress)
        # compiled for the batches of training alone: others have other shapes, and are few
        compiled = self._compiled if progress is not None else None
        terms = self._terms((compiled or self.network.reconstruct)(batch.x, batch.y), batch, progress)
        if progress is None or self.objective.set_objective.weight == 0:
            return terms
        return terms | dict.fromkeys(SET_TERMS, torch.zeros_like(terms["loss"]))

    def _loss_of_sets(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Terms of the first pairs of a batch, as many as there are sets of draws in a step."""
        objective = self.objective.set_objective
        if self._sets is None:
            raise ValueError("sets of draws are trained by a trainer only, which starts their random numbers.")
        sets = objective(self.problem, self.network, batch.x, batch.y, progress, self._sets)
        count = len(sets.cost)
        first = Batch(batch.x[:count], batch.y[:count])
        terms = self._terms(self.network.reconstruct(*first), first, progress)
        terms["loss"] = terms["loss"] + objective.weight * sets.cost
        return terms | dict(zip(SET_TERMS, (sets.gain, sets.violation), strict=True))

    def _terms(
        self, reconstruction: Reconstruction, batch: Batch, progress: Progress | None = None
    ) -> dict[str, Tensor]:
        forward = self.task.forward if isinstance(self.task, Problem) else None
        scale = cast(Tensor | None, self._x_scale)
        return self.objective(reconstruction, batch.x, batch.y, scale, forward, progress)

    @torch.no_grad()
    def log_likelihood(self, batch: Batch, samples: int = 100) -> Tensor:
        """Importance-sampled ``log p(x|y)`` in nats, ``(batch,)``, a lower bound that tightens with more ``samples``.

        Burda et al. 2016, "Importance weighted autoencoders". Right if the likelihood is in nats and
        ``loss.reduction`` is ``sum``.

        Raises:
            UserError: for a network or a reduction without such an estimate.
        """
        if self.objective.reduction != "sum":
            raise UserError(f"loss.reduction is {self.objective.reduction}; a likelihood needs sum.")
        found = []
        for some in torch.arange(len(batch.x)).split(max(DECODED // samples, 1)):
            x = batch.x[some]
            reconstruction, log_weights = self.network.importance(x, batch.y[some], samples)
            cost = self.objective.x_cost(reconstruction, x, cast(Tensor | None, self._x_scale))
            found.append((log_weights - cost).logsumexp(1))
        return torch.cat(found)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Note the terms of a batch, and what its codes tell of the latent."""
        reconstruction = self.network.reconstruct(batch.x, batch.y)
        self._note("val", self._terms(reconstruction, batch))
        cast(ActiveUnits, self._active).update(reconstruction.code)
        if batch_index == 0:
            self._information.append(self.network.information(batch.x, batch.y))

    def on_validation_epoch_end(self) -> None:
        """Log the active units and the information of the latent, then terms and measured draws."""
        active = cast(ActiveUnits, self._active)
        self.log("val/active_units", active.compute())
        active.reset()
        # estimated on the first batch of each process: with more samples it costs their square
        self.log("val/information", self._information.pop(), sync_dist=self.trainer.world_size > 1)
        super().on_validation_epoch_end()

    @classmethod
    def measured(cls) -> set[str]:
        """Names of what is measured beside the draws, the latent included."""
        return super().measured() | {"val/active_units", "val/information"}
