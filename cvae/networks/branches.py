"""The model ``branches``: a discrete latent and a Gaussian one, for solutions that form several continua."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.base import Encoder, LatentNetwork, Reconstruction
from cvae.networks.heads import Head
from cvae.networks.latent import BranchedLatent, EnumeratedLatent, GaussianLatent, choose
from cvae.networks.mixture import check_components, nearest_components
from cvae.networks.posteriors import mutual_information
from cvae.networks.priors import StandardNormal
from cvae.networks.scalers import ConditionScaler, RangeScaler
from cvae.networks.trunks import Dense, Trunk
from cvae.recording import recorded


class BranchedCVAE(LatentNetwork):
    """A CVAE whose latent is a branch k of ``components`` with p(k|y), and a Gaussian z: ``x = head(W_k h(z, y))``.

    A decoder is continuous in z, so a Gaussian latent alone must cross between separate branches of solutions; one of
    components alone has no continuum. Here each k is a branch with coordinates z of its own; the features h are those
    of all. The posterior over k given z is exact and truncated to the ``enumerated`` nearest components, as in
    :class:`~cvae.networks.CategoricalCVAE`.

    Args:
        encoder: q(z|x,y), a Gaussian.
        trunk: h, from z and features of y to features; has ``width``.
        choice: from features of y to those of p(k|y); has ``width``.
        head: from ``head.outputs`` numbers to a solution.
        components: number of branches.
        enumerated: components that enter the bound for one sample.
        x_scaler, y_scaler: units of solutions and conditions.
    """

    def __init__(
        self,
        encoder: Encoder,
        trunk: Trunk,
        choice: Trunk,
        head: Head,
        components: int,
        enumerated: int,
        x_scaler: RangeScaler,
        y_scaler: ConditionScaler,
    ) -> None:
        super().__init__()
        check_components(components, enumerated)
        self.encoder, self.trunk, self.choice, self.head = encoder, trunk, choice, head
        self.components, self.enumerated = components, enumerated
        self.x_scaler, self.y_scaler = x_scaler, y_scaler
        self.latent_dim = encoder.latent_dim
        self.noise_dim = 1 + self.latent_dim
        self.prior = StandardNormal(self.latent_dim)
        self.solutions = nn.Linear(trunk.width, components * head.outputs)
        self.logits = nn.Linear(choice.width, components)
        # spread over the solutions from the start; components that begin alike stay alike
        nn.init.normal_(self.solutions.bias, std=1.5)
        nn.init.zeros_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)

    def fit_scale(self, x: Tensor, y: Tensor) -> None:
        """Fit both scalers."""
        self.x_scaler.fit(x)
        self.y_scaler.fit(y)

    def components_of(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Raw solutions ``(batch, samples, components, head.outputs)`` for ``z`` ``(batch, samples, latent_dim)``, and
        ``log p(k|y)`` ``(batch, components)``, given features of y."""
        inputs = torch.cat([z, features.unsqueeze(1).expand(-1, z.shape[1], -1)], dim=-1)
        raw = self.solutions(self.trunk(inputs)).unflatten(-1, (self.components, self.head.outputs))
        return raw, self._log_prior(features)

    def reconstruct(self, x: Tensor, y: Tensor) -> Reconstruction:
        """One sample of z, and its components nearest to x: ``(batch, enumerated, *x_shape)``."""
        found, _, _ = self._reconstruct(x, y)
        return found

    def information(self, x: Tensor, y: Tensor) -> Tensor:
        """See :func:`cvae.networks.posteriors.mutual_information`; k is the component that is nearest."""
        found, z, k = self._reconstruct(x, y)
        return mutual_information(cast(BranchedLatent, found.latent).z.posterior, z, k)

    def draw(self, y: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` from points ``(batch, draws, 1 + latent_dim)``, of which the first
        numbers choose the component, and the others are z."""
        features = self.y_scaler(y)
        raw, log_prior = self.components_of(self.prior.icdf(u[..., 1:], features, temperature), features)
        k = choose(log_prior, u[..., 0], temperature)
        return self.head(_picked(raw, k.unsqueeze(-1)).squeeze(2))

    def log_choice(self, y: Tensor, u: Tensor) -> Tensor:
        """``log p(k|y)`` of the components of the draws, ``(batch, draws)``."""
        log_prior = self._log_prior(self.y_scaler(y))
        return log_prior.gather(1, choose(log_prior, u[..., 0]))

    def _log_prior(self, features: Tensor) -> Tensor:
        return self.logits(self.choice(features)).log_softmax(-1)

    def _reconstruct(self, x: Tensor, y: Tensor) -> tuple[Reconstruction, Tensor, Tensor]:
        """The reconstruction, its z ``(batch, latent_dim)`` and its nearest component ``(batch,)``."""
        features = self.y_scaler(y)
        posterior = self.encoder(self.x_scaler(x), features)
        z = posterior.sample(1)
        raw, log_prior = self.components_of(z, features)
        nearest = nearest_components(self.head, raw[:, 0], x, self.enumerated)
        latent = BranchedLatent(
            GaussianLatent(posterior, self.prior(features)), EnumeratedLatent(log_prior.gather(1, nearest))
        )
        found = self.head(_picked(raw, nearest.unsqueeze(1))[:, 0])
        return Reconstruction(found, latent, posterior.mean), z[:, 0], nearest[:, 0]


def _picked(raw: Tensor, k: Tensor) -> Tensor:
    """Components ``k`` ``(batch, samples, some)`` of ``raw`` ``(batch, samples, components, outputs)``."""
    return raw.gather(2, k.unsqueeze(-1).expand(-1, -1, -1, raw.shape[-1]))


@recorded
def branches(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    hidden: Sequence[int],
    components: int,
    enumerated: int,
    head: Head,
) -> BranchedCVAE:
    """Plain perceptrons with SiLU.

    Args:
        x_shape, y_shape: shapes of a solution and of a condition.
        latent_dim: size of the Gaussian part of the latent.
        hidden: layer sizes, the same for encoder, decoder and p(k|y).
        components: number of branches.
        enumerated: components that enter the bound for one sample.
        head: output head.

    Raises:
        UserError: for sizes that make no sense.
    """
    if latent_dim < 1:
        raise UserError(f"model.latent_dim is {latent_dim}; it must be at least 1; model=mixture has no Gaussian part.")
    features = math.prod(y_shape)
    encoder = Encoder(Dense(math.prod(x_shape) + features, hidden), latent_dim, sees_y=True)
    trunk, choice = Dense(latent_dim + features, hidden), Dense(features, hidden)
    scalers = RangeScaler(tuple(x_shape)), ConditionScaler(tuple(y_shape))
    return BranchedCVAE(encoder, trunk, choice, head, components, enumerated, *scalers)
