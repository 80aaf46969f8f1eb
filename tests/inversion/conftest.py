"""Exact solutions that tests compare with."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cvae.tasks import Lines


def family(lines: Lines, theta: Tensor, count: int) -> Tensor:
    """Exact solutions ``(c x0, x1 / c)`` of ``y = x0 * x1``, ``(count, 4)``, with ``log c`` spaced evenly from where x1
    touches the top of the range to where x0 does.

    Args:
        lines: two lines.
        theta: one known solution ``(4,)`` with positive values.
        count: number of solutions.
    """
    high = lines.range[1]
    smallest, largest = float(theta[2:].max()) / high, high / float(theta[:2].max())
    c = torch.logspace(math.log10(smallest), math.log10(largest), count, dtype=torch.float64).to(theta).unsqueeze(1)
    return torch.cat([theta[:2] * c, theta[2:] / c], dim=1)


@pytest.fixture
def product_family() -> Callable[[Lines, Tensor, int], Tensor]:
    return family
