"""What x and y are, and what counts: the contract of every task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor
from torchmetrics import MetricCollection

from cvae.metrics.records import Drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@runtime_checkable
class Task(Protocol):
    """A task of conditional generation: solutions x given conditions y.

    Attributes:
        headline: name of the measure that tells most of a model.
    """

    headline: str

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one solution."""

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of one condition; ``(0,)`` where nothing is given."""

    @property
    def config(self) -> dict[str, Any]:
        """Plain data (``_target_`` and arguments) from which the same task is built again."""

    def x_scale(self, like: Tensor) -> Tensor:
        """Unit in which residuals of x are measured, broadcastable against ``(..., *x_shape)``."""

    def measures(self) -> MetricCollection:
        """Measures of draws, each updated by a :class:`cvae.metrics.Drawn`."""

    def drawn(self, which: Tensor, x: Tensor, y: Tensor) -> Drawn:
        """Draws as a record for the measures, checked where the task can check them.

        Args:
            which: indices of the conditions, ``(batch,)``.
            x: draws ``(batch, draws, *x_shape)``.
            y: conditions ``(batch, *y_shape)``.
        """

    def figures(self, drawn: Drawn, references: Sequence[Tensor] = ()) -> dict[str, Figure]:
        """Pictures of the draws for a few conditions, by name.

        Args:
            drawn: the draws.
            references: parameters of the reference solutions ``(count, parameters)`` of the first of these conditions.
        """


@runtime_checkable
class GenerationTask(Task, Protocol):
    """A task without a forward operator: its draws cannot be checked, and a user names conditions by numbers.

    A subclass gives shapes, config, figures and conditions. What needs real ones is measured by its data module.
    """

    def x_scale(self, like: Tensor) -> Tensor:
        """1: residuals are measured in the units of x."""
        return like.new_ones(1)

    def measures(self) -> MetricCollection:
        """None of the draws alone."""
        return MetricCollection({})

    def drawn(self, which: Tensor, x: Tensor, y: Tensor) -> Drawn:
        """Draws as a record without a verdict; arguments as for :meth:`Task.drawn`."""
        return Drawn(which, x, y)

    def conditions(self, values: Sequence[float]) -> Tensor:
        """Conditions ``(count, *y_shape)``, one for each number, for example a class.

        Where nothing is given, ``y_shape`` is ``(0,)`` and no number gives one empty condition ``(1, 0)``.

        Raises:
            UserError: for a number that names no condition, and for too few or too many of them.
        """
