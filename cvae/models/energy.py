"""An energy-based model: a density up to its factor, and Langevin dynamics to draw from it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cvae.data.batches import Batch
from cvae.errors import UserError
from cvae.losses import ContrastiveDivergence, Progress
from cvae.models.generative import Evaluation, Generative, Training
from cvae.models.langevin import Chains, check_steps, langevin
from cvae.models.sampler import AtTemperature, Sampler
from cvae.networks import EnergyNetwork
from cvae.networks.posteriors import normal_icdf
from cvae.sampling import chunk_size, find_point_set
from cvae.seeds import Purpose, stream
from cvae.tasks import Task

log = logging.getLogger(__name__)

#: how far the grid of the normaliser reaches along each axis, in units of the spread, and its points there
REACH, GRID = 4.0, 481


class EnergyModel(Generative):
    """``p(x) = exp(-E(x)) / Z`` of points in the plane, given nothing, trained by contrastive divergence.

    Its persistent chains are part of its weights, so that a training that is resumed goes on as one that was not
    interrupted.

    Args:
        network: the energy.
        objective: the loss, and the chains of the training.
        task: what x is.
        evaluation: how draws are made; needs ``steps`` and ``step_size``.
        training: optimizer and schedule; needed for training only.
        seed: fixes the chains, and the draws of validation and test.
        config: plain data from which :meth:`from_config` builds the same model; stored in checkpoints.

    Raises:
        UserError: for an evaluation without steps.
    """

    terms = ("loss", "energy_data", "energy_chains", "diverged")
    network_type = EnergyNetwork
    network_needed = (
        "contrastive divergence needs an energy, model=energy; other models need another loss, as loss=elbo"
    )
    network: EnergyNetwork
    objective: ContrastiveDivergence
    chains: Tensor

    def __init__(
        self,
        network: EnergyNetwork,
        objective: ContrastiveDivergence,
        task: Task,
        evaluation: Evaluation,
        training: Training | None = None,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(network, objective, task, evaluation, training, seed, config)
        if evaluation.steps is None or evaluation.step_size is None:
            raise UserError("evaluation lacks the steps and the step_size of an energy model.")
        check_steps(evaluation.steps, evaluation.step_size, "evaluation")
        self.steps, self.step_size = evaluation.steps, evaluation.step_size
        self.register_buffer("chains", torch.zeros(objective.chains, *task.x_shape))
        self._noise = stream(Purpose.CHAINS, seed)

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any], task: Task) -> None:
        """Check the task and what only some models have, see :meth:`Generative.check_settings`."""
        if (tuple(task.x_shape), tuple(task.y_shape)) != ((2,), (0,)):
            raise UserError(
                f"loss is {settings['loss']['_target_']}, for points in the plane, given nothing, but these data "
                f"have x of shape {list(task.x_shape)} and y of shape {list(task.y_shape)}; choose data=swiss_roll, or "
                "another loss."
            )
        if settings["compile"]:
            raise UserError("compile is true, but an energy model has nothing to compile; set compile=false.")
        for name, value in (("steps", 1000), ("step_size", 0.01)):
            if settings["evaluation"].get(name) is None:
                raise UserError(f"evaluation.{name} is not set; an energy model needs it: +evaluation.{name}={value}.")
        trainer = settings["trainer"]
        for name in ("devices", "num_nodes"):
            if isinstance(trainer.get(name), int) and trainer[name] > 1:
                raise UserError(
                    f"trainer.{name} is {trainer[name]}, but an energy model is trained by one process, which has its "
                    f"chains; set trainer.{name}=1."
                )
        chains, batch = settings["loss"].get("chains"), settings["data"].get("batch_size")
        if isinstance(chains, int) and isinstance(batch, int) and 0 < chains < batch:
            raise UserError(f"loss.chains is {chains}; it must be at least data.batch_size, {batch}, or 0.")

    # --- use

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Points ``(batch, draws, 2)`` for empty conditions ``(batch, 0)``; those of diverged chains are nan, and a
        warning says how many.

        Raises:
            UserError: if all chains diverged.
        """
        return self._draw(y, draws, generator, self.evaluation.temperature)

    def tempered(self, temperature: float) -> Sampler:
        """The model as a sampler with another temperature than its own, see :class:`Evaluation`."""
        return AtTemperature(self._draw, temperature)

    def walk(self, draws: int, generator: torch.Generator, step_size: float | None = None, kept: int = 0) -> Chains:
        """Langevin dynamics from ``N(0, spread^2 I)`` with the steps and the temperature of the evaluation.

        Args:
            draws: number of chains.
            generator: source of all randomness.
            step_size: of the dynamics; None takes that of the evaluation.
            kept: first steps that are kept.
        """
        step_size = self.step_size if step_size is None else step_size
        return self._walk(self._start(draws, generator), generator, step_size, self.evaluation.temperature, kept)

    def _walk(
        self, start: Tensor, generator: torch.Generator, step_size: float, temperature: float, kept: int = 0
    ) -> Chains:
        return langevin(lambda x: self.network(x) / temperature, start, self.steps, step_size, generator, kept)

    def _draw(self, y: Tensor, draws: int, generator: torch.Generator, temperature: float) -> Tensor:
        count = len(y) * draws
        parts = self._start(count, generator).split(chunk_size(self.device))
        found = [self._walk(part, generator, self.step_size, temperature) for part in parts]
        diverged = sum(int(part.diverged.sum()) for part in found)
        if diverged == count:
            raise UserError(f"all {count} chains diverged with evaluation.step_size={self.step_size}; make it smaller.")
        if diverged:
            log.warning("%d of %d chains diverged; their draws are nan, and no part of the measures.", diverged, count)
        return torch.cat([part.x for part in found]).view(len(y), draws, -1)

    def _start(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` points of ``N(0, spread^2 I)``."""
        u = find_point_set(self.evaluation.point_set)(1, count, self.chains.shape[1], generator)[0]
        return self.network.spread * normal_icdf(u).to(self.device)

    # --- density

    def log_prob(self, x: Tensor, points: int = GRID) -> Tensor:
        """``log p(x)`` in nats of points ``(..., 2)``, ``(...)``, at temperature 1.

        The normaliser is a sum over a grid, to 4 spreads of the reference measure along each axis; what lies
        beyond is left out of it. It is worked out anew with each call.

        Args:
            x: points ``(..., 2)``.
            points: of the grid along each axis.
        """
        return -self._energies(x.flatten(0, -2)).view(x.shape[:-1]) - self.log_normaliser(points)

    def log_normaliser(self, points: int = GRID) -> Tensor:
        """``log Z``, see :meth:`log_prob`."""
        reach = REACH * self.network.spread
        axis = torch.linspace(-reach, reach, points, device=self.device)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).flatten(0, 1)
        return (-self._energies(grid)).logsumexp(0) + 2 * math.log(2 * reach / (points - 1))

    @torch.no_grad()
    def _energies(self, x: Tensor) -> Tensor:
        return torch.cat([self.network(part) for part in x.split(chunk_size(self.device, 2))])

    def log_likelihood(self, batch: Batch, samples: int = GRID) -> Tensor:
        """``log p(x)`` in nats, ``(batch,)``; ``samples`` are the points of the grid, see :meth:`log_prob`."""
        return self.log_prob(batch.x, samples)

    def curvature(self, x: Tensor) -> Tensor:
        """Largest eigenvalue of the Hessian of E at points ``(count, 2)``, ``(count,)``."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.network(x).sum(), x, create_graph=True)
            rows = [torch.autograd.grad(one.sum(), x, retain_graph=True)[0] for one in slope.unbind(1)]
        return torch.linalg.eigvalsh(torch.stack(rows, dim=1))[:, -1]

    # --- training

    def setup(self, stage: str) -> None:
        """Start the chains of a new training; one from the weights of another goes on with its chains.

        Raises:
            UserError: for several processes.
        """
        if self.trainer.world_size > 1:
            raise UserError(
                f"an energy model is trained by one process, which has its chains, not by {self.trainer.world_size}; "
                "set trainer.devices=1."
            )
        if stage == "fit" and self.trainer.ckpt_path is None and not self.pretrained:
            self.chains.copy_(self._new_chains())

    def _taken(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """All weights, with new chains where another number of them is asked for."""
        if "chains" in weights and len(weights["chains"]) != len(self.chains):
            return weights | {"chains": self._new_chains()}
        return weights

    def _new_chains(self) -> Tensor:
        return self._start(len(self.chains), stream(Purpose.CHAINS, self.seed))

    def on_train_epoch_start(self) -> None:
        """Start the noise of the epoch."""
        super().on_train_epoch_start()
        self._noise = stream(Purpose.CHAINS, self.seed, self.current_epoch)

    def loss(self, batch: Batch, progress: Progress | None = None) -> dict[str, Tensor]:
        """Named per-sample terms ``(batch,)``, see :class:`cvae.losses.ContrastiveDivergence`; ``diverged`` is 1 for a
        chain that had to begin anew since it diverged."""
        x, diverged = self._negatives(batch.x, training=progress is not None)
        return self.objective(self.network(batch.x), self.network(x)) | {"diverged": diverged.float()}

    def _negatives(self, data: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Ends of chains, as many as ``data`` ``(batch, 2)``, and which had diverged ``(batch,)``.

        Persistent chains move in training alone.
        """
        objective, noise = self.objective, self._noise
        if objective.chains == 0:
            noise = noise if training else stream(Purpose.CHAINS, self.seed)
            return self._moved(data, noise)
        if not training:
            return self.chains[torch.arange(len(data), device=self.device) % len(self.chains)], data.new_zeros(
                len(data)
            )
        index = torch.randperm(len(self.chains), generator=noise)[: len(data)].to(self.device)
        anew = torch.rand(len(data), 1, generator=noise).to(self.device) < objective.restarts
        found, diverged = self._moved(torch.where(anew, self._start(len(data), noise), self.chains[index]), noise)
        self.chains[index] = found
        return found, diverged

    def _moved(self, x: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Chains from ``x`` ``(batch, 2)``, those that diverge from the start of all draws."""
        ends = langevin(self.network, x, self.objective.steps, self.objective.step_size, noise)
        if bool(ends.diverged.all()):
            raise UserError(
                f"all chains diverged with loss.step_size={self.objective.step_size}; make it or optimizer.lr smaller."
            )
        return torch.where(ends.diverged.unsqueeze(1), self._start(len(x), noise), ends.x), ends.diverged
