"""Densities fitted to pairs without a network; each draws x given y and gives ``log p(x|y)``."""

from __future__ import annotations

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvae.data import Batch
from cvae.errors import UserError
from cvae.seeds import Purpose, stream
from cvae.tasks.gaussian_mixture import Mixture

log = logging.getLogger(__name__)

#: numbers of components in a row without a smaller BIC, after which the search ends
PATIENCE = 5
#: starts of each fit of a mixture, of which the likeliest is kept
STARTS = 3
#: parts of the cross-validation, and points of each that are scored
FOLDS, SCORED = 5, 200
#: bandwidths that are tried first, as multiples of Scott's rule (Scott 1992), and those around the best of them
COARSE, FINE = tuple(np.geomspace(0.02, 8, 9)), tuple(np.geomspace(0.5, 2, 8))
#: bandwidths in y that are tried, as multiples of that in x
RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)
#: conditions for which the training pairs are weighted at once
CONDITIONS = 256
#: distance from the centre of points of a radial kernel with bandwidth 1 in so many dimensions: its density goes with
#: r^(dimensions - 1) K(r). The cosine kernel of scikit-learn is left out: it is near Epanechnikov's
RADII: Mapping[str, Callable[[np.random.Generator, int, tuple[int, ...]], Any]] = {
    "gaussian": lambda rng, dimensions, size: np.sqrt(rng.chisquare(dimensions, size)),
    "tophat": lambda rng, dimensions, size: rng.beta(dimensions, 1, size),
    "epanechnikov": lambda rng, dimensions, size: np.sqrt(rng.beta(dimensions / 2, 2, size)),
    "exponential": lambda rng, dimensions, size: rng.gamma(dimensions, 1, size),
    "linear": lambda rng, dimensions, size: rng.beta(dimensions, 2, size),
}
#: kernels that are tried unless others are asked for: those without an end. A kernel that ends gives no density to a
#: point that is near no training point, and of n points covered in the cross-validation, about one more in n is not
ENDLESS = ("gaussian", "exponential")


class Density(ABC):
    """A joint density of x and y, used as that of x given y; a :class:`~cvae.models.sampler.Sampler`.

    It is fitted to flat vectors ``(x, y)`` in units of their mean and standard deviation; with conditions of shape
    ``(0,)`` it is the plain density of x.

    Args:
        pairs: training pairs ``(count, *x_shape)`` and ``(count, *y_shape)``.

    Raises:
        UserError: for fewer than ten pairs, or values that are not finite.
    """

    def __init__(self, pairs: Batch) -> None:
        self.x_shape = pairs.x.shape[1:]
        self.columns = self.x_shape.numel()
        values = _flat(pairs.x, pairs.y)
        if len(values) < 10 or not bool(values.isfinite().all()):
            raise UserError(f"a density is fitted to {len(values)} pairs; at least 10 are needed, all finite.")
        self._mean, spread = values.mean(0), values.std(0, correction=0)
        self._scale = torch.where(spread > 0, spread, 1.0)
        #: the training pairs ``(count, columns of x and y)`` in these units
        self.joint = (values - self._mean) / self._scale

    @torch.no_grad()
    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` for conditions ``(batch, *y_shape)``."""
        given = (y.flatten(1).double().cpu() - self._mean[self.columns :]) / self._scale[self.columns :]
        x = self._draw(given, draws, generator) * self._scale[: self.columns] + self._mean[: self.columns]
        return x.unflatten(-1, self.x_shape).to(y)

    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """``log p(x|y)`` in nats in the units of x, of pairs ``(batch, *x_shape)`` and ``(batch, *y_shape)``,
        ``(batch,)``."""
        joint = (_flat(x, y) - self._mean) / self._scale
        found = self._log_prob(joint[:, : self.columns], joint[:, self.columns :])
        return (found - self._scale[: self.columns].log().sum()).to(x)

    @abstractmethod
    def _draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """The same as :meth:`draw` of flat vectors in the units of the fit."""

    @abstractmethod
    def _log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """The same as :meth:`log_prob` of flat vectors in the units of the fit."""


def _flat(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([x.flatten(1), y.flatten(1)], 1).double().cpu()


class MixtureDensity(Density):
    """A mixture of Gaussians with full covariances, by expectation maximisation (scikit-learn).

    The number of components is that of the smallest Bayesian information criterion (Schwarz 1978), searched upwards
    from 1 until :data:`PATIENCE` numbers in a row do not lower it; a warning says if it still falls at ``most``.

    Args:
        pairs: see :class:`Density`.
        most: largest number of components.
        seed: of the starts of the fits.

    Raises:
        UserError: for a number below 1, and as :class:`Density`.
    """

    def __init__(self, pairs: Batch, most: int = 30, seed: int = 0) -> None:
        super().__init__(pairs)
        from sklearn.mixture import GaussianMixture

        if most < 1:
            raise UserError(f"most is {most}; a mixture has at least 1 component.")
        points, start = self.joint.numpy(), stream(Purpose.BASELINE, seed, 0).initial_seed() % 2**32
        best, least = None, float("inf")
        for count in range(1, min(most, len(points)) + 1):
            fit = GaussianMixture(count, max_iter=500, n_init=STARTS, random_state=start).fit(points)
            if fit.bic(points) < least:
                best, least = fit, fit.bic(points)
            elif best is not None and count - best.n_components >= PATIENCE:
                break
        assert best is not None
        self.components = int(best.n_components)
        if self.components == most > 1:
            log.warning("BIC was still falling at most=%d components; more may fit better.", most)
        weights, means, covariances = (
            torch.from_numpy(part) for part in (best.weights_, best.means_, best.covariances_)
        )
        # Bishop 2006, "Pattern Recognition and Machine Learning", equations 2.81 and 2.82, for each component
        own, given = slice(self.columns), slice(self.columns, None)
        factors = torch.linalg.cholesky(covariances[:, given, given])
        self._gain = torch.cholesky_solve(covariances[:, given, own], factors).mT
        self._own = Mixture(
            weights,
            means[:, own],
            torch.linalg.cholesky(covariances[:, own, own] - self._gain @ covariances[:, given, own]),
        )
        self._given = Mixture(weights, means[:, given], factors)

    def _conditioned(self, y: Tensor) -> Mixture:
        """The mixture of x for each of ``y`` ``(batch, columns)``: weights ``(batch, components)``, means ``(batch,
        components, columns)``."""
        # torch has no Gaussian of no dimensions
        log_weights = self._given.log_joint(y) if y.shape[1] else self._own.weights.log().expand(len(y), -1)
        shifts = (y.unsqueeze(1) - self._given.means).unsqueeze(-1)
        means = self._own.means + (self._gain @ shifts).squeeze(-1)
        return Mixture(log_weights.softmax(1), means, self._own.factors)

    def _draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        weights, means, factors = self._conditioned(y)
        k = torch.multinomial(weights, draws, replacement=True, generator=generator)
        noise = torch.randn(*k.shape, self.columns, 1, dtype=y.dtype, generator=generator)
        rows = torch.arange(len(y)).unsqueeze(1)
        return means[rows, k] + (factors[k] @ noise).squeeze(-1)

    def _log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        return self._conditioned(y).log_prob(x)


class GaussianDensity(MixtureDensity):
    """One Gaussian by maximum likelihood; given y it is a linear regression with Gaussian residuals.

    Args:
        pairs: see :class:`Density`.
    """

    def __init__(self, pairs: Batch) -> None:
        super().__init__(pairs, most=1)


class KernelDensity(Density):
    """Kernel density estimate (scikit-learn) whose kernel and bandwidth have the largest cross-validated likelihood.

    The parts of the cross-validation are blocks of pairs in their order, so that neighbouring days of a time series are
    not torn apart. With conditions the likelihood is that of x given y (Rosenblatt 1969, "Conditional probability
    density and regression estimators": training points weighted by the kernel in y), y has a bandwidth of its own, and
    the kernel is Gaussian: of the radial kernels it alone is a product of kernels in x and in y.

    Args:
        pairs: see :class:`Density`.
        kernels: names of radial kernels, of :data:`RADII`; None takes those of :data:`ENDLESS` that are possible.

    Raises:
        UserError: for a kernel that is unknown, or not Gaussian where there are conditions, and as :class:`Density`.
    """

    def __init__(self, pairs: Batch, kernels: Sequence[str] | None = None) -> None:
        super().__init__(pairs)
        count, columns = self.joint.shape
        conditioned = columns > self.columns
        possible = ["gaussian"] if conditioned else list(RADII)
        kinds = [kernel for kernel in ENDLESS if kernel in possible] if kernels is None else list(kernels)
        if not kinds or not set(kinds) <= set(possible):
            raise UserError(f"kernels is {kinds}; choose from {', '.join(possible)}.")
        widths = np.array(COARSE) * count ** (-1 / (columns + 4))
        found = [(ratio, self._search(kinds, widths, ratio)) for ratio in (RATIOS if conditioned else (1.0,))]
        self.ratio, coarse = max(found, key=lambda pair: float(pair[1].best_score_))
        best = coarse.best_params_
        fine = self._search([best["kernel"]], np.array(FINE) * best["bandwidth"], self.ratio)
        self._estimator = fine.best_estimator_
        self.kernel, self.bandwidth = str(self._estimator.kernel), float(self._estimator.bandwidth)

    def _search(self, kernels: list[str], bandwidths: Any, ratio: float) -> Any:
        """The cross-validation over kernels and bandwidths, and the estimate with the best."""
        from sklearn.model_selection import GridSearchCV
        from sklearn.neighbors import KernelDensity as Estimator

        grid = {"kernel": kernels, "bandwidth": bandwidths}
        search = GridSearchCV(Estimator(), grid, scoring=self._score, cv=_blocks(len(self.joint)))
        # a kernel that ends may give a point no density at all
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.filterwarnings("ignore", message="One or more of the test scores are non-finite")
            return search.fit(self._scaled(self.joint, ratio).numpy())

    def _scaled(self, joint: Tensor, ratio: float) -> Tensor:
        """Pairs ``(batch, columns)`` with y in units of its own bandwidth over that in x."""
        return torch.cat([joint[:, : self.columns], joint[:, self.columns :] / ratio], 1)

    def _log_conditional(self, estimator: Any, joint: Any) -> Any:
        """``log p(x|y)`` of scaled pairs, ``(batch,)``."""
        from sklearn.neighbors import KernelDensity as Estimator

        found = estimator.score_samples(joint)
        if joint.shape[1] > self.columns:
            given = np.asarray(estimator.tree_.data)[:, self.columns :]
            found -= Estimator(bandwidth=estimator.bandwidth).fit(given).score_samples(joint[:, self.columns :])
        return found

    def _score(self, estimator: Any, joint: Any, _: Any = None) -> float:
        return float(self._log_conditional(estimator, joint).mean())

    def _draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        known, width = self.joint[:, self.columns :], self.ratio * self.bandwidth
        picked = []
        for some in y.split(CONDITIONS):
            weights = (-torch.cdist(some, known).square() / (2 * width**2)).softmax(1)
            picked.append(torch.multinomial(weights, draws, replacement=True, generator=generator))
        x = self.joint[:, : self.columns][torch.cat(picked)]
        rng = numpy_generator(generator)
        directions = torch.from_numpy(rng.standard_normal(x.shape))
        radii = torch.from_numpy(RADII[self.kernel](rng, self.columns, (*x.shape[:-1], 1)))
        return x + self.bandwidth * radii * directions / directions.norm(dim=-1, keepdim=True)

    def _log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        scaled = self._scaled(torch.cat([x, y], 1), self.ratio).numpy()
        return torch.from_numpy(self._log_conditional(self._estimator, scaled))


def _blocks(count: int) -> list[tuple[Any, Any]]:
    """Indices of the training points, and of a share of the points of the block that they leave out, for each block."""
    everything = np.arange(count)
    blocks = np.array_split(everything, FOLDS)
    return [(np.setdiff1d(everything, block), block[:: -(-len(block) // SCORED)]) for block in blocks]


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A generator of numpy that is seeded by one of torch."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
