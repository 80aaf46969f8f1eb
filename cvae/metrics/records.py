"""What the measures read: drawn solutions and the verdict on them."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class Check(NamedTuple):
    """Verdict on generated solutions; see :meth:`cvae.tasks.Problem.check`.

    Attributes:
        misfit: ``(batch, draws)``, RMSE between f(x') and y, the largest over the conditions; inf if not finite.
        in_range: bool ``(batch, draws)``.
        valid: bool ``(batch, draws)``, all gates passed.
        straightness: of lines ``(batch, draws, lines)``, Pearson correlation with the position times the required
            slope sign; 0 for a constant line and for one that is not finite. None where solutions are no lines.
        relative: ``(batch, draws)``, the same as misfit, but of each condition as a share of the spread of y. None
            where that is not known.
    """

    misfit: Tensor
    in_range: Tensor
    valid: Tensor
    straightness: Tensor | None = None
    relative: Tensor | None = None

    def at(self, index: Any) -> Check:
        """Index every field along the batch, or along batch and draws."""
        further = (None if field is None else field[index] for field in (self.straightness, self.relative))
        return Check(self.misfit[index], self.in_range[index], self.valid[index], *further)


class Drawn(NamedTuple):
    """Draws for some conditions.

    Attributes:
        which: indices of the conditions among all that are drawn for, ``(batch,)``.
        x: draws ``(batch, draws, *x_shape)``.
        y: their conditions ``(batch, *y_shape)``.
        check: the verdict; None for a task without a forward operator.
    """

    which: Tensor
    x: Tensor
    y: Tensor
    check: Check | None = None
