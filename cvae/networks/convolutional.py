"""The model ``conv``: a Gaussian CVAE for square images, made of strided convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.base import GaussianCVAE
from cvae.networks.divergences import LatentOptions
from cvae.networks.posteriors import Posterior
from cvae.networks.scalers import ConditionScaler
from cvae.recording import recorded

#: of every convolution but the last; the padding makes each of stride 2 halve the side
KERNEL, PADDING = 4, 1


@recorded
def conv(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    channels: Sequence[int],
    hidden: int,
    encoder_sees_y: bool,
    latent: LatentOptions | None = None,
) -> GaussianCVAE:
    """Convolutions that halve the side of an image, a dense layer over their features and y, and the mirror image of
    both as the decoder, which gives probabilities.

    Args:
        x_shape, y_shape: shapes of a solution, ``(side, side)``, and of a condition.
        latent_dim: size of the latent.
        channels: of each convolution; there may be as many as the side can be halved.
        hidden: size of the dense layer.
        encoder_sees_y: q(z|x,y) if true, q(z|x) if false.
        latent: noise and divergence; None for Gaussian and KL.

    Raises:
        UserError: for sizes that make no sense, and for a solution that is no square image.
    """
    if latent_dim < 1 or hidden < 1 or not channels or min(channels) < 1:
        raise UserError(
            f"model has latent_dim={latent_dim}, hidden={hidden} and channels={list(channels)}; all must be at least 1."
        )
    if len(x_shape) != 2 or x_shape[0] != x_shape[1]:
        raise UserError(f"model=conv is for square images, but the data give x of shape {list(x_shape)}; use dense.")
    side = x_shape[0]
    if side % 2 ** len(channels):
        raise UserError(
            f"model.channels has {len(channels)} entries, but a side of {side} cannot be halved that often; use fewer."
        )
    (features,) = y_shape
    options = latent or LatentOptions()
    prior = options.noise(latent_dim)
    encoder = ConvEncoder(side, channels, hidden, latent_dim, features if encoder_sees_y else 0, prior.posterior)
    decoder = ConvDecoder(side, channels, hidden, latent_dim + features)
    # grey values are of order 1 as they are
    scalers = nn.Identity(), ConditionScaler((features,))
    return GaussianCVAE(encoder, decoder, prior, latent_dim, *scalers, options.divergence)


class ConvEncoder(nn.Module):
    """q(z|x,y) or q(z|x) of an image.

    Args:
        side: of the image in pixels.
        channels: of each convolution, which halves the side.
        hidden: size of the dense layer after them.
        latent_dim: size of ``z``.
        features: number of features of y that the dense layer sees beside those of x; 0 leaves y out.
        posterior: from ``(batch, 2 latent_dim)`` to the posterior.
    """

    def __init__(
        self,
        side: int,
        channels: Sequence[int],
        hidden: int,
        latent_dim: int,
        features: int,
        posterior: Callable[[Tensor], Posterior],
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip([1, *channels[:-1]], channels, strict=True):
            layers += [nn.Conv2d(inputs, outputs, KERNEL, stride=2, padding=PADDING), nn.SiLU()]
        self.image = nn.Sequential(*layers, nn.Flatten())
        small = side // 2 ** len(channels)
        self.sees_y, self.posterior = features > 0, posterior
        self.dense = nn.Sequential(nn.Linear(channels[-1] * small**2 + features, hidden), nn.SiLU())
        self.out = nn.Linear(hidden, 2 * latent_dim)

    def forward(self, x: Tensor, y: Tensor) -> Posterior:
        """``x`` ``(batch, side, side)`` and features of y ``(batch, features)`` to the posterior."""
        found = self.image(x.unsqueeze(1))
        return self.posterior(self.out(self.dense(torch.cat([found, y], dim=-1) if self.sees_y else found)))


class ConvDecoder(nn.Module):
    """p(x|z,y) of an image: the probability, or expected grey value, of each pixel.

    Args:
        side: of the image in pixels.
        channels: as of the encoder; here from the last to the first.
        hidden: size of the dense layer before them.
        inputs: size of ``z`` and number of features of y together.
    """

    def __init__(self, side: int, channels: Sequence[int], hidden: int, inputs: int) -> None:
        super().__init__()
        small = side // 2 ** len(channels)
        self.dense = nn.Sequential(
            nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, channels[-1] * small**2), nn.SiLU()
        )
        layers: list[nn.Module] = [nn.Unflatten(1, (channels[-1], small, small))]
        for before, after in zip(reversed(channels[1:]), reversed(channels[:-1]), strict=True):
            layers += [nn.ConvTranspose2d(before, after, KERNEL, stride=2, padding=PADDING), nn.SiLU()]
        last = nn.ConvTranspose2d(channels[0], 1, KERNEL, stride=2, padding=PADDING)
        self.image = nn.Sequential(*layers, last)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """``z`` ``(batch, samples, latent_dim)``, ``y`` ``(batch, features)`` to ``(batch, samples, side, side)``."""
        y = y.unsqueeze(1).expand(-1, z.shape[1], -1)
        images = self.image(self.dense(torch.cat([z, y], dim=-1)).flatten(0, 1))
        # in full precision: half cannot tell probabilities near 0 and 1
        return images[:, 0].float().sigmoid().unflatten(0, z.shape[:2])
