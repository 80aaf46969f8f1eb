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
from cvae.networks.modulated import Modulated
from cvae.networks.posteriors import mutual_information
from cvae.networks.priors import StandardNormal
from cvae.networks.scalers import ConditionScaler, RangeScaler
from cvae.networks.trunks import Dense, Trunk
from cvae.recording import recorded


class BranchedCVAE(LatentNetwork):
    """A CVAE whose latent is a branch k of ``components`` with p(k|y), and a Gaussian z: ``x = head(W_k h + c_k(y))``.

    A decoder is continuous in z, so a Gaussian latent alone must cross between separate branches of solutions; one of
    components alone has no continuum. Here each k is a branch with coordinates z of its own; the features h of z and y
    are those of all. The posterior over k given z is exact and truncated to the ``enumerated`` nearest components, as
    in :class:`~cvae.networks.CategoricalCVAE`.

    Args:
        encoder: q(z|x,y), a Gaussian.
        layers: h of z and features of y, see :class:`~cvae.networks.modulated.Modulated`.
        choice: from features of y to those of p(k|y); has ``width``.
        head: from ``head.outputs`` numbers to a solution.
        components: number of branches.
        enumerated: components that enter the bound for one sample.
        x_scaler, y_scaler: units of solutions and conditions.
    """

    def __init__(
        self,
        encoder: Encoder,
        layers: Modulated,
        choice: Trunk,
        head: Head,
        components: int,
        enumerated: int,
        x_scaler: RangeScaler,
        y_scaler: ConditionScaler,
    ) -> None:
        super().__init__()
        check_components(components, enumerated)
        self.encoder, self.layers, self.choice, self.head = encoder, layers, choice, head
        self.components, self.enumerated = components, enumerated
        self.x_scaler, self.y_scaler = x_scaler, y_scaler
        self.latent_dim = encoder.latent_dim
        self.noise_dim = self.latent_dim
        self.prior = StandardNormal(self.latent_dim)
        self.solutions = nn.Linear(layers.width, components * head.outputs)
        self.constants = nn.Linear(layers.trunk.width, components * head.outputs)
        self.logits = nn.Linear(choice.width, components)
        # spread over the solutions from the start; components that begin alike stay alike
        nn.init.normal_(self.solutions.bias, std=1.5)
        nn.init.zeros_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)

    def fit_scale(self, x: Tensor, y: Tensor) -> None:
        """Fit both scalers."""
        self.x_scaler.fit(x)
        self.y_scaler.fit(y)

    def components_of(self, z: Tensor, features: Tensor) -> Tensor:
        """Raw solutions ``(batch, samples, components, head.outputs)`` for ``z`` ``(batch, samples, latent_dim)`` and
        features of y."""
        h, of_y = self.layers.features(z, features)
        raw = self.solutions(h) + self.constants(of_y).unsqueeze(1)
        return raw.unflatten(-1, (self.components, self.head.outputs))

    def log_prior(self, features: Tensor) -> Tensor:
        """``log p(k|y)`` ``(batch, components)``, given features of y."""
        return self.logits(self.choice(features)).log_softmax(-1)

    def reconstruct(self, x: Tensor, y: Tensor) -> Reconstruction:
        """One sample of z, and its components nearest to x: ``(batch, enumerated, *x_shape)``."""
        found, _, _ = self._reconstruct(x, y)
        return found

    def information(self, x: Tensor, y: Tensor) -> Tensor:
        """See :func:`cvae.networks.posteriors.mutual_information`; k is the component that is nearest."""
        found, z, k = self._reconstruct(x, y)
        return mutual_information(cast(BranchedLatent, found.latent).z.posterior, z, k)

    def draw(self, y: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` from points ``(batch, draws, latent_dim)``.

        The first number of a point chooses the component, and where in the component's interval it lies is the first
        coordinate of z: so even points are even along each branch.
        """
        features = self.y_scaler(y)
        k, within = choose(self.log_prior(features), u[..., 0], temperature)
        points = torch.cat([within.unsqueeze(-1), u[..., 1:]], dim=-1)
        raw = self.components_of(self.prior.icdf(points, features, temperature), features)
        return self.head(_picked(raw, k.unsqueeze(-1)).squeeze(2))

    def log_choice(self, y: Tensor, u: Tensor) -> Tensor:
        """``log p(k|y)`` of the components of the draws, ``(batch, draws)``."""
        log_prior = self.log_prior(self.y_scaler(y))
        return log_prior.gather(1, choose(log_prior, u[..., 0]).k)

    def _reconstruct(self, x: Tensor, y: Tensor) -> tuple[Reconstruction, Tensor, Tensor]:
        """The reconstruction, its z ``(batch, latent_dim)`` and its nearest component ``(batch,)``."""
        features = self.y_scaler(y)
        posterior = self.encoder(self.x_scaler(x), features)
        z = posterior.sample(1)
        raw, log_prior = self.components_of(z, features), self.log_prior(features)
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
    width: int,
    components: int,
    enumerated: int,
    head: Head,
) -> BranchedCVAE:
    """Perceptrons with SiLU, and a decoder of three modulated layers.

    Args:
        x_shape, y_shape: shapes of a solution and of a condition.
        latent_dim: size of the Gaussian part of the latent.
        hidden: layer sizes, the same for encoder, p(k|y) and the part of the decoder that sees y.
        width: of the layers that z passes, see :class:`~cvae.networks.modulated.Modulated`.
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
    layers, choice = Modulated(Dense(features, hidden), latent_dim, width), Dense(features, hidden)
    scalers = RangeScaler(tuple(x_shape)), ConditionScaler(tuple(y_shape))
    return BranchedCVAE(encoder, layers, choice, head, components, enumerated, *scalers)
