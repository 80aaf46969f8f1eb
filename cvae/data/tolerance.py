"""Smooth perturbations of a condition, as large as the gate allows."""

from __future__ import annotations

import torch
from torch import Tensor


class SmoothTolerance:
    """Adds a smooth random error to ``y``, of RMSE uniform in ``[0, largest]`` per condition.

    A solution counts as valid when its misfit is below the gate, so the set to be learned is wider than the exact
    solutions. Training on ``(x, f(x) + e)`` shows the network, for the condition ``f(x) + e``, a solution with the
    misfit ``RMSE(e)``, so that it learns the whole accepted set.

    Args:
        points: grid points of a condition.
        largest: largest RMSE, in units of ``y``.
        degree: highest degree of the Legendre polynomials that make up ``e``.
    """

    def __init__(self, points: int, largest: float, degree: int = 2) -> None:
        t = torch.linspace(-1, 1, points, dtype=torch.float64)
        powers = torch.stack([t**n for n in range(degree + 1)])
        # orthonormal under the mean over the grid, so the RMSE is the length of the coefficients
        basis, _ = torch.linalg.qr(powers.T)
        self._basis = (basis.T * points**0.5).float()
        self.largest = largest

    def __call__(self, y: Tensor, generator: torch.Generator) -> Tensor:
        """Perturbed copy of ``y`` ``(batch, conditions, points)``."""
        self._basis = self._basis.to(y)
        shape = (*y.shape[:-1], len(self._basis))
        coefficients = torch.randn(shape, generator=generator, device=y.device, dtype=y.dtype)
        rmse = torch.rand((*y.shape[:-1], 1), generator=generator, device=y.device, dtype=y.dtype) * self.largest
        direction = coefficients / coefficients.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return y + (rmse * direction) @ self._basis
