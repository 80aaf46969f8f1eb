"""The model ``mixture``: a categorical latent, for conditions whose solutions are separate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.base import LatentNetwork, Reconstruction
from cvae.networks.heads import Head
from cvae.networks.latent import EnumeratedLatent, choose
from cvae.networks.scalers import ConditionScaler
from cvae.networks.trunks import Residual
from cvae.recording import recorded


class CategoricalCVAE(LatentNetwork):
    """A CVAE whose latent is one of ``components``: p(k|y), and one solution for each k and y.

    A Gaussian latent must blur between separate solutions; here each k is a solution of its own. The posterior over
    k is exact: it follows from how far each k's solution is from x, so no recognition network is needed. Of the
    components only the nearest ``enumerated`` enter the bound (truncated posteriors, Luecke & Eggert 2010): the
    others have almost no weight, and leaving them out can only lower the bound.

    Args:
        trunk: from features of y to features; has ``width``.
        head: from ``head.outputs`` numbers to a solution.
        components: number of values of the latent.
        enumerated: components that enter the bound for one sample.
        scaler: from raw conditions to features.
    """

    def __init__(self, trunk: Residual, head: Head, components: int, enumerated: int, scaler: ConditionScaler) -> None:
        super().__init__()
        check_components(components, enumerated)
        self.trunk, self.head, self.scaler = trunk, head, scaler
        self.components, self.enumerated = components, enumerated
        self.latent_dim = components
        # of the variance p (1 - p) of a component in use; evenly used ones have p = 1 / components
        self.active_variance = 0.1 / components
        self.noise_dim = 1
        self.solutions = nn.Linear(trunk.width, components * head.outputs)
        self.logits = nn.Linear(trunk.width, components)
        # spread over the solutions from the start, over [-2, 2], the range by the linear link; components that begin
        # alike stay alike
        nn.init.uniform_(self.solutions.bias, -2.0, 2.0)
        nn.init.zeros_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)

    def fit_scale(self, x: Tensor, y: Tensor) -> None:
        """Fit the scaler of conditions."""
        self.scaler.fit(y)

    def components_of(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Raw solutions ``(batch, components, head.outputs)`` and ``log p(k|y)`` ``(batch, components)``."""
        features = self.trunk(self.scaler(y))
        raw = self.solutions(features).unflatten(-1, (self.components, self.head.outputs))
        return raw, self.logits(features).log_softmax(-1)

    def reconstruct(self, x: Tensor, y: Tensor) -> Reconstruction:
        """The components nearest to x ``(batch, *x_shape)``: ``(batch, enumerated, *x_shape)``."""
        raw, log_prior = self.components_of(y)
        nearest = nearest_components(self.head, raw, x, self.enumerated)
        chosen = raw.gather(1, nearest.unsqueeze(-1).expand(-1, -1, raw.shape[-1]))
        code = torch.zeros_like(log_prior).scatter(1, nearest[:, :1], 1.0)
        return Reconstruction(self.head(chosen), EnumeratedLatent(log_prior.gather(1, nearest)), code)

    def information(self, x: Tensor, y: Tensor) -> Tensor:
        """Entropy of the component that is nearest, over the batch, in nats."""
        # each sample has one k that is nearest by far, so the information is the entropy of k over the batch
        share = self.reconstruct(x, y).code.mean(0)
        return -(share * share.clamp_min(1e-12).log()).sum()

    def draw(self, y: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` from points ``(batch, draws, 1)``."""
        raw, log_prior = self.components_of(y)
        k = choose(log_prior, u[..., 0], temperature).k
        return self.head(raw.gather(1, k.unsqueeze(-1).expand(-1, -1, raw.shape[-1])))

    def log_choice(self, y: Tensor, u: Tensor) -> Tensor:
        """``log p(k|y)`` of the components of the draws, ``(batch, draws)``."""
        log_prior = self.components_of(y)[1]
        return log_prior.gather(1, choose(log_prior, u[..., 0]).k)


def check_components(components: int, enumerated: int) -> None:
    """Refuse numbers of components that make no sense.

    Raises:
        UserError: naming the one.
    """
    if components < 2:
        raise UserError(f"model.components is {components}; it must be at least 2.")
    if not 1 <= enumerated <= components:
        raise UserError(f"model.enumerated is {enumerated}; it must be between 1 and model.components.")


@torch.no_grad()
def nearest_components(head: Head, raw: Tensor, x: Tensor, count: int) -> Tensor:
    """Which ``count`` of the components ``raw`` ``(batch, components, head.outputs)`` are nearest to solutions ``x``
    ``(batch, *x_shape)``, the nearest first, ``(batch, count)``."""
    return head.squared_error(raw, x).topk(count, dim=1, largest=False).indices


@recorded
def mixture(
    y_shape: Sequence[int], components: int, enumerated: int, width: int, blocks: int, head: Head
) -> CategoricalCVAE:
    """A categorical CVAE over a residual perceptron.

    Args:
        y_shape: shape of a condition.
        components: number of values of the latent.
        enumerated: components that enter the bound for one sample.
        width, blocks: size of the perceptron.
        head: output head.

    Raises:
        UserError: for sizes that make no sense.
    """
    trunk = Residual(math.prod(y_shape), width, blocks)
    return CategoricalCVAE(trunk, head, components, enumerated, ConditionScaler(tuple(y_shape)))
