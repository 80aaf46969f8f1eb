"""Light curves given the size of the source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional import spearman_corrcoef

from cvae.errors import UserError
from cvae.metrics.records import Drawn
from cvae.tasks.task import GenerationTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LightCurves(GenerationTask):
    """x is log10 of the magnification at equally spaced times, y is log10 of the source radius p.

    Args:
        points: of a curve, at least 8.
        radii: lowest and highest p of the training, in Einstein radii; outside draws extrapolate. None if not known.

    Raises:
        UserError: for fewer points, or radii that are no range of positive numbers.
    """

    headline = "loss"

    def __init__(self, points: int = 128, radii: Sequence[float] | None = None) -> None:
        if points < 8:
            raise UserError(f"data.points is {points}; a light curve needs at least 8.")
        if radii is not None and (len(radii) != 2 or not 0 < radii[0] < radii[1] < math.inf):
            raise UserError(f"data.radii is {list(radii)}; it must be [lowest, highest] with 0 < lowest < highest.")
        self.points = points
        self.radii = None if radii is None else (float(radii[0]), float(radii[1]))

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one curve."""
        return (self.points,)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the condition, one number."""
        return (1,)

    @property
    def config(self) -> dict[str, Any]:
        """Plain data from which the same task is built again."""
        radii = None if self.radii is None else list(self.radii)
        return {"_target_": "cvae.tasks.LightCurves", "points": self.points, "radii": radii}

    def conditions(self, values: Sequence[float]) -> Tensor:
        """Conditions ``(count, 1)`` for source radii in Einstein radii.

        Raises:
            UserError: for none, and for a radius that is no positive number.
        """
        if not values:
            raise UserError("condition is missing; give source radii in Einstein radii, condition=[0.1,0.5].")
        wrong = next((value for value in values if not 0 < value < math.inf), None)
        if wrong is not None:
            raise UserError(f"condition holds {wrong}; a source radius must be a positive number.")
        return torch.tensor(values, dtype=torch.float32).log10().unsqueeze(1)

    def extrapolates(self, p: float) -> bool:
        """Whether the training had no sources as small or as large as ``p``."""
        # the logarithm and back costs a few digits
        return self.radii is not None and not self.radii[0] * 0.9999 <= p <= self.radii[1] * 1.0001

    def figures(self, drawn: Drawn, references: Sequence[Tensor] = ()) -> dict[str, Figure]:
        """A panel of curves for each condition; those that extrapolate are marked."""
        # matplotlib takes a second to import
        from cvae.tasks.curve_figures import curves_figure

        return {"curves": curves_figure(self, drawn)}


#: neighbours in the projection of which the conditions are averaged
NEIGHBOURS = 10


def projected(codes: Tensor, method: str) -> np.ndarray:
    """A two-dimensional projection ``(count, 2)`` of latents ``(count, latent_dim)``.

    Args:
        codes: the latents.
        method: ``tsne`` (van der Maaten & Hinton 2008) or ``umap`` (McInnes et al. 2018).

    Raises:
        UserError: for ``umap`` where it is not installed.
    """
    values = codes.detach().float().cpu().numpy()
    if method == "umap":
        try:
            from umap import UMAP
        except ImportError:
            raise UserError(
                "data.projection is umap, which is not installed: pip install umap-learn, or take tsne."
            ) from None
        return np.asarray(UMAP(random_state=0).fit_transform(values))
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(values) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, random_state=0).fit_transform(values))


def neighbour_order(places: np.ndarray, y: Tensor) -> tuple[float, float]:
    """Whether a projection is ordered by the condition, and the same with shuffled conditions as a control.

    The number is the rank correlation (Spearman) of a point's condition with the mean condition of its ten nearest
    neighbours: 1 where neighbours have like conditions, about 0 where they have any.

    Args:
        places: of the points, ``(count, 2)``.
        y: condition of each, ``(count,)``.
    """
    points = torch.from_numpy(np.ascontiguousarray(places)).double()
    apart = torch.cdist(points, points).fill_diagonal_(torch.inf)
    nearest = apart.topk(min(NEIGHBOURS, len(points) - 1), largest=False).indices
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    values = y.detach().cpu().double()
    real, control = (spearman_corrcoef(one, one[nearest].mean(1)) for one in (values, values[order]))
    return float(real), float(control)
