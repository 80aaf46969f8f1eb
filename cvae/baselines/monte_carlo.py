"""Draws from a density that is known up to a constant: acceptance-rejection and Metropolis-Hastings."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cvae.baselines.densities import numpy_generator
from cvae.errors import UserError

log = logging.getLogger(__name__)

#: ``(x, y)`` of ``(count, *x_shape)`` and ``(count, *y_shape)`` to the log-density of x given y, ``(count,)``, up to a
#: constant for each y
LogDensity = Callable[[Tensor, Tensor], Tensor]

#: degrees of freedom of the wide proposal
DEGREES = 5.0
#: proposals that are made at once, and at most
BLOCK, MOST = 10_000, 10_000_000
#: best of the first proposals from which the envelope is searched, and how much higher than its peak it is laid
STARTS, MARGIN = 5, np.log(1.05)
#: walkers of an ensemble, autocorrelation times that its chain lasts and that are left out of its beginning
WALKERS, LENGTH, BURN_IN = 100, 50, 5
#: steps between two looks at the autocorrelation time, and at most
STEPS, MOST_STEPS = 250, 20_000


class Rejected(NamedTuple):
    """How the draws for one condition were accepted.

    Attributes:
        acceptance: share of the proposals that were accepted.
        exceeded: proposals where the density was above the envelope; unless 0, the draws are too few there.
    """

    acceptance: float
    exceeded: int


class Chain(NamedTuple):
    """How the chain for one condition ran.

    Attributes:
        acceptance: share of the proposals that were accepted.
        autocorrelation: integrated autocorrelation time in steps, the longest of the coordinates (Sokal 1997).
        steps: of each walker.
    """

    acceptance: float
    autocorrelation: float
    steps: int


class _MonteCarlo(ABC):
    """A :class:`~cvae.models.sampler.Sampler` of a log-density; each condition is a run of its own.

    Args:
        log_density: of x given y, up to a constant.
        points: ``(count, *x_shape)``, where the density is roughly; their mean and covariance place a Student t
            distribution, whose tails are heavier than those of any mixture of Gaussians.

    Raises:
        UserError: for points that do not span all columns.
    """

    #: what happened at the last :meth:`draw`, for each condition
    reports: list[Any]

    def __init__(self, log_density: LogDensity, points: Tensor) -> None:
        from scipy.stats import multivariate_t

        self.log_density, self.points = log_density, points
        flat = points.flatten(1).double().cpu().numpy()
        self.columns = flat.shape[1]
        covariance = np.atleast_2d(np.cov(flat, rowvar=False))
        try:
            self.factor = np.linalg.cholesky(covariance)
            self.wide: Any = multivariate_t(flat.mean(0), covariance, df=DEGREES)
        except ValueError as error:
            raise UserError(
                f"the covariance of the {len(flat)} points is not positive definite ({error}); give points that vary "
                f"in each direction of their {self.columns} columns."
            ) from None

    @torch.no_grad()
    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` for conditions ``(batch, *y_shape)``.

        Raises:
            UserError: for a density that is not a number, where ten million proposals are too few to accept so many,
                and where a chain finds no density or is too short for so many.
        """
        self.reports = []
        rng = numpy_generator(generator)
        rows = np.stack([self._run(one, draws, rng) for one in y])
        return torch.from_numpy(rows).to(self.points).unflatten(-1, self.points.shape[1:])

    @abstractmethod
    def _run(self, y: Tensor, draws: int, rng: np.random.Generator) -> Any:
        """Draws ``(draws, columns)`` for one condition."""

    def _evaluate(self, x: Any, y: Tensor) -> Any:
        """Log-density of ``x`` ``(count, columns)``, ``(count,)``.

        Raises:
            UserError: where it is not a number.
        """
        points = torch.from_numpy(np.ascontiguousarray(x)).to(self.points).unflatten(-1, self.points.shape[1:])
        found = self.log_density(points, y.expand(len(points), *y.shape)).double().cpu().numpy()
        if np.isnan(found).any():
            raise UserError(f"the log-density of {x[np.isnan(found)][0].tolist()} is not a number.")
        return found

    def _proposals(self, count: int, rng: np.random.Generator) -> Any:
        return self.wide.rvs(count, random_state=rng).reshape(count, self.columns)


class AcceptanceRejection(_MonteCarlo):
    """Acceptance-rejection sampling (von Neumann 1951) below a Student t distribution as envelope.

    The envelope is laid 5 % above the highest ratio of the density to the proposal that a search finds: among
    proposals and the given points, and uphill from the best of them (Nelder-Mead). The ratio is bounded for a density
    whose tails are Gaussian or shorter, but nothing guarantees that the search finds its highest peak. So every
    proposal that exceeds the envelope is counted and reported; draws are exact where there is none.

    Args:
        log_density, points: see :class:`_MonteCarlo`.

    After :meth:`draw`, ``reports`` has one :class:`Rejected` for each condition.
    """

    reports: list[Rejected]

    def _run(self, y: Tensor, draws: int, rng: np.random.Generator) -> Any:
        bound = self._bound(y, rng)
        kept, accepted, proposed, exceeded = [], 0, 0, 0
        while accepted < draws:
            if proposed >= MOST:
                raise UserError(
                    f"{proposed:,} proposals give {accepted} of {draws} draws; give points that are nearer."
                )
            x = self._proposals(BLOCK, rng)
            ratio = self._ratio(x, y) - bound
            inside = np.log1p(-rng.random(BLOCK)) < ratio
            kept.append(x[inside])
            accepted += int(inside.sum())
            proposed += BLOCK
            exceeded += int((ratio > 0).sum())
        if exceeded:
            log.warning("%d of %d proposals exceed the envelope; there are too few draws there.", exceeded, proposed)
        self.reports.append(Rejected(accepted / proposed, exceeded))
        return np.concatenate(kept)[:draws]

    def _ratio(self, x: Any, y: Tensor) -> Any:
        return self._evaluate(x, y) - self.wide.logpdf(x)

    def _bound(self, y: Tensor, rng: np.random.Generator) -> float:
        from scipy.optimize import minimize

        given = self.points[:BLOCK].flatten(1).double().cpu().numpy()
        tried = np.concatenate([given, self._proposals(BLOCK, rng)])
        ratios = self._ratio(tried, y)
        best = np.argsort(ratios)[-STARTS:]

        def cost(x: Any) -> float:
            return -float(self._ratio(x[None], y)[0])

        peaks = [-float(minimize(cost, tried[place], method="Nelder-Mead").fun) for place in best]
        return max(*peaks, float(ratios.max())) + float(MARGIN)


class MetropolisHastings(_MonteCarlo):
    """Metropolis-Hastings sampling by the package emcee (extra ``bench``), Foreman-Mackey et al. 2013.

    Half of the steps are random walks with the covariance of ``points`` times 2.38^2 / columns (Roberts et al.
    1997), the others differences between two walkers, which jump between modes (ter Braak 2006). Walkers start from the
    wide Student t distribution. The chain runs for 50 autocorrelation times, of which the first 5 are left out, and is
    thinned to the draws; one that ends earlier, after 20,000 steps, is reported.

    Args:
        log_density, points: see :class:`_MonteCarlo`.

    After :meth:`draw`, ``reports`` has one :class:`Chain` for each condition.

    Raises:
        UserError: without emcee; the message names the extra.
    """

    reports: list[Chain]

    def __init__(self, log_density: LogDensity, points: Tensor) -> None:
        super().__init__(log_density, points)
        try:
            import emcee
        except ImportError:
            raise UserError("Metropolis-Hastings needs the package emcee: pip install -e '.[bench]'.") from None
        self._emcee = emcee

    def _run(self, y: Tensor, draws: int, rng: np.random.Generator) -> Any:
        moves = self._emcee.moves
        walkers = max(WALKERS, 4 * self.columns)
        sampler = self._emcee.EnsembleSampler(
            walkers,
            self.columns,
            lambda x: self._evaluate(x, y),
            moves=[(moves.MHMove(self._walk), 0.5), (moves.DEMove(gamma0=1.0), 0.5)],
            vectorize=True,
        )
        sampler.random_state = np.random.RandomState(rng.integers(2**32)).get_state()
        state, needed = self._proposals(walkers, rng), 0
        while sampler.iteration < MOST_STEPS:
            state = sampler.run_mcmc(state, STEPS)
            if np.isneginf(state.log_prob).all():
                raise UserError(f"no walker finds any density in {sampler.iteration} steps; give nearer points.")
            # nan as long as a walker has not moved
            time = float(sampler.get_autocorr_time(tol=0).max())
            # thinned to one step in an autocorrelation time, what is left must do for the draws
            needed = np.ceil(max(LENGTH, BURN_IN + draws / walkers) * time)
            if sampler.iteration >= needed:
                break
        else:
            if np.isnan(time):
                raise UserError(f"a walker has not moved in {MOST_STEPS} steps; give nearer points.")
            log.warning("the chain ended after %d steps; %d autocorrelation times need %d.", MOST_STEPS, LENGTH, needed)
        self.reports.append(Chain(float(sampler.acceptance_fraction.mean()), time, sampler.iteration))
        chain = sampler.get_chain(discard=min(int(BURN_IN * time), sampler.iteration // 2))
        if len(chain) * walkers < draws:
            raise UserError(f"the chain gives {len(chain) * walkers} of {draws} draws; ask for fewer at once.")
        every = max(len(chain) // -(-draws // walkers), 1)
        return rng.permutation(chain[::-every].reshape(-1, self.columns))[:draws]

    def _walk(self, x: Any, random: np.random.RandomState) -> tuple[Any, Any]:
        """A step of the random walk, which is as likely as the way back."""
        # not emcee's GaussianMove: with a covariance, version 3.1.6 moves all walkers by the same step (mended since),
        # and differences between walkers are then no longer those of independent ones
        return x + 2.38 / np.sqrt(self.columns) * random.standard_normal(x.shape) @ self.factor.T, np.zeros(len(x))
