"""Smooth perturbations of a condition, as large as the gate allows."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.tasks import Problem

#: highest degree of the Legendre polynomials that make up a perturbation
DEGREE = 2


class SmoothTolerance:
    """Adds a smooth random error to ``y``, of RMSE uniform in ``[0, share * gates.rmse]`` per condition.

    A solution counts as valid when its misfit is below the gate, so the set to be learned is wider than the exact
    solutions. Training on ``(x, f(x) + e)`` shows the network, for the condition ``f(x) + e``, a solution with the
    misfit ``RMSE(e)``, so that it learns the whole accepted set.

    Args:
        problem: gives the gate and the conditions.
        share: largest RMSE, as a share of the gate.
    """

    def __init__(self, problem: Problem, share: float) -> None:
        self.problem = problem
        values = torch.Size(problem.y_shape).numel() // problem.forward.conditions
        t = torch.linspace(-1, 1, values, dtype=torch.float64)
        powers = torch.stack([t**n for n in range(min(DEGREE + 1, values))])
        # orthonormal under the mean over the values, so the RMSE is the length of the coefficients
        basis, _ = torch.linalg.qr(powers.T)
        self._basis = (basis.T * values**0.5).float()
        self.largest = share * problem.gates.rmse

    def __call__(self, y: Tensor, generator: torch.Generator) -> Tensor:
        """Perturbed copy of ``y`` ``(batch, *y_shape)``."""
        self._basis = self._basis.to(y)
        rows = self.problem.by_condition(y)
        shape = (*rows.shape[:-1], len(self._basis))
        coefficients = torch.randn(shape, generator=generator, device=y.device, dtype=y.dtype)
        rmse = torch.rand((*rows.shape[:-1], 1), generator=generator, device=y.device, dtype=y.dtype) * self.largest
        direction = coefficients / coefficients.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return (rows + (rmse * direction) @ self._basis).view_as(y)
