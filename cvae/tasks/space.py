"""The space of solutions of an inverse problem: parameters, their prior, and how they become solutions."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cvae.errors import UserError

#: a value of x may leave its range by this share of the largest bound, for rounding
RANGE_TOLERANCE = 1e-6
#: of the prior ``normal``: standard deviation as a share of a parameter's range
NORMAL_WIDTH = 0.25

PriorConfig = str | Sequence[str | Mapping[str, float]]


class Space(ABC):
    """Solutions described by a few parameters in a box.

    Attributes:
        x_shape: shape of one solution.
        parameters: number of parameters of one solution.
        bounds: lowest and highest value of each parameter.
        prior: of the parameters.
        config: plain data (``_target_`` and arguments) from which the same space is built again.
    """

    x_shape: tuple[int, ...]
    parameters: int
    bounds: tuple[tuple[float, float], ...]
    prior: IndependentPrior
    config: dict[str, Any]

    @abstractmethod
    def decode(self, theta: Tensor) -> Tensor:
        """Parameters ``(..., parameters)`` to solutions ``(..., *x_shape)``."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Least-squares parameters ``(..., parameters)`` of ``x`` ``(..., *x_shape)``; left inverse of
        :meth:`decode`."""

    @abstractmethod
    def project(self, theta: Tensor) -> Tensor:
        """Nearest allowed parameters, of the shape of ``theta`` ``(..., parameters)``."""

    @abstractmethod
    def squared_error(self, theta: Tensor, x: Tensor) -> Tensor:
        """Mean squared distance, over the values of a solution and in units of their ranges, of ``decode(theta)`` and
        ``x``.

        Args:
            theta: ``(..., parameters)``.
            x: ``(..., *x_shape)``, broadcast against ``theta``.

        Returns:
            ``(...)``.
        """

    @property
    @abstractmethod
    def value_bounds(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest value of each coordinate of a flattened solution; one entry if all are alike."""

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """What the parameters are called in tables and pictures."""

    def low(self, like: Tensor) -> Tensor:
        """Lowest values ``(parameters,)``, in the number format and on the device of ``like``."""
        return constant(tuple(bound[0] for bound in self.bounds), like)

    def span(self, like: Tensor) -> Tensor:
        """Width of each parameter's range, ``(parameters,)``."""
        return constant(tuple(high - low for low, high in self.bounds), like)

    def clamp(self, theta: Tensor) -> Tensor:
        """``theta`` ``(..., parameters)`` with every parameter in its range."""
        low = self.low(theta)
        return theta.clamp(low, constant(tuple(bound[1] for bound in self.bounds), theta))

    def scaled(self, theta: Tensor) -> Tensor:
        """Parameters ``(..., parameters)`` as shares of their ranges."""
        return (theta - self.low(theta)) / self.span(theta)

    def from_shares(self, share: Tensor) -> Tensor:
        """Numbers from 0 to 1 ``(..., parameters)``, as shares of the ranges, to allowed parameters."""
        return self.clamp(self.low(share) + self.span(share) * share)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Parameters ``(count, parameters)`` from the prior, on the device of ``generator``."""
        uniform = torch.rand(count, self.parameters, generator=generator, device=generator.device)
        return self.clamp(self.low(uniform) + self.span(uniform) * self.prior.share(uniform))

    def straightness(self, x: Tensor) -> Tensor | None:
        """Straightness of lines ``(..., lines)``, see :meth:`cvae.tasks.Lines.straightness`; None where a solution is
        not made of lines."""
        return None

    def coordinates(self, x: Tensor) -> Tensor:
        """Solutions ``(..., *x_shape)`` flattened, each coordinate as a share of its range, ``(..., coordinates)``."""
        flat = x.flatten(x.dim() - len(self.x_shape))
        if all(bound == (0.0, 1.0) for bound in self.value_bounds):
            return flat
        low = constant(tuple(bound[0] for bound in self.value_bounds), flat)
        return (flat - low) / constant(tuple(high - low for low, high in self.value_bounds), flat)

    def x_scale(self, like: Tensor) -> Tensor:
        """Unit of each coordinate of x: the width of its range, broadcastable against ``(..., *x_shape)``."""
        width = constant(tuple(high - low for low, high in self.value_bounds), like)
        return width if len(width) == 1 else width.view(self.x_shape)

    def in_range(self, x: Tensor) -> Tensor:
        """Whether all values of ``x`` ``(..., *x_shape)`` are in range, up to rounding, bool ``(...)``."""
        flat = x.flatten(x.dim() - len(self.x_shape))
        spare = [RANGE_TOLERANCE * max(1.0, abs(low), abs(high)) for low, high in self.value_bounds]
        low = constant(tuple(bound[0] - s for bound, s in zip(self.value_bounds, spare, strict=True)), flat)
        high = constant(tuple(bound[1] + s for bound, s in zip(self.value_bounds, spare, strict=True)), flat)
        return ((flat >= low) & (flat <= high)).all(-1)


@functools.lru_cache(maxsize=256)
def _kept(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # made while validating, it must also do for training
    with torch.inference_mode(False), torch.no_grad():
        return torch.tensor(values, dtype=dtype, device=device)


def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """``values`` as a tensor in the number format and on the device of ``like``; not to be written to.

    It is kept: made anew at each call, it would be copied to the device in every step, which stalls an accelerator.
    """
    if torch.compiler.is_compiling():
        return torch.tensor(values, dtype=like.dtype, device=like.device)
    return _kept(values, like.dtype, like.device)


class IndependentPrior:
    """A prior under which parameters are independent, each uniform or normal in its range.

    Args:
        prior: ``uniform``, ``normal``, or a list with one entry for each parameter: one of these words or a mapping
            ``{mean: ..., std: ...}``. ``normal`` has its mean in the middle of the range and a standard deviation of a
            quarter of it; normal ones are truncated to the range.
        bounds: lowest and highest value of each parameter.

    Raises:
        UserError: for another entry, or a list of another length.
    """

    def __init__(self, prior: PriorConfig, bounds: Sequence[tuple[float, float]]) -> None:
        if not isinstance(prior, Sequence):
            raise UserError(
                f"data.prior is {prior}; it must be uniform, normal or a list with one entry for each parameter."
            )
        entries = [prior] * len(bounds) if isinstance(prior, str) else list(prior)
        if len(entries) != len(bounds):
            raise UserError(
                f"data.prior has {len(entries)} entries for {len(bounds)} parameters; give one for each, or one word "
                "for all."
            )
        self.uniform = all(entry == "uniform" for entry in entries)
        #: mean and standard deviation in units of the range, for each parameter; None where it is uniform
        self.normal = [_moments(entry, bound) for entry, bound in zip(entries, bounds, strict=True)]

    def share(self, uniform: Tensor) -> Tensor:
        """Uniform numbers ``(count, parameters)`` to shares of the ranges that follow the prior."""
        if self.uniform:
            return uniform
        columns = []
        for column, moments in zip(uniform.double().unbind(-1), self.normal, strict=True):
            if moments is None:
                columns.append(column)
                continue
            mean, std = moments
            first, last = (_normal_cdf((edge - mean) / std) for edge in (0.0, 1.0))
            # the inverse distribution function of the truncated normal
            columns.append((mean + std * torch.special.ndtri(first + (last - first) * column)).clamp(0, 1))
        return torch.stack(columns, dim=-1).to(uniform.dtype)


def plain_prior(prior: PriorConfig) -> str | list[Any]:
    """``prior`` as plain data."""
    return prior if isinstance(prior, str) else [entry if isinstance(entry, str) else dict(entry) for entry in prior]


def _normal_cdf(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2))


def _moments(entry: str | Mapping[str, float], bound: tuple[float, float]) -> tuple[float, float] | None:
    if entry == "uniform":
        return None
    if entry == "normal":
        return 0.5, NORMAL_WIDTH
    numbers = isinstance(entry, Mapping) and all(isinstance(value, int | float) for value in entry.values())
    if isinstance(entry, Mapping) and numbers and set(entry) == {"mean", "std"}:
        low, high = bound
        mean, std = float(entry["mean"]), float(entry["std"])
        if low <= mean <= high and 0 < std < math.inf:
            return (mean - low) / (high - low), std / (high - low)
        raise UserError(
            f"data.prior holds mean {mean:g} and std {std:g} for a parameter in [{low:g}, {high:g}]; the mean must be "
            "in range and std positive."
        )
    raise UserError(f"data.prior holds {entry!r}; it must be uniform, normal or {{mean: ..., std: ...}}.")


def checked_bounds(name: str, bound: Sequence[float]) -> tuple[float, float]:
    """``bound`` as ``(lowest, highest)``.

    Raises:
        UserError: naming the entry ``name``, unless it holds two finite numbers in order.
    """
    try:
        low, high = (float(value) for value in bound)
    except (TypeError, ValueError):  # no list, not two, or no numbers
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise UserError(f"{name} is {bound}; it must be [lowest, highest] with lowest < highest.")
    return low, high
