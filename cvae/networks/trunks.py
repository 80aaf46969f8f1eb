"""Bodies of encoders and decoders: plain and residual perceptrons."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cvae.errors import UserError


class Trunk(nn.Sequential):
    """What every trunk has: the ``width`` of the features that it gives."""

    width: int


class Dense(Trunk):
    """Perceptron ``inputs -> hidden[0] -> ...`` with an activation after each layer; ``width`` is the last size."""

    def __init__(self, inputs: int, hidden: Sequence[int], activation: type[nn.Module] = nn.SiLU) -> None:
        if not hidden or min(hidden) < 1:
            raise UserError(f"model.hidden is {list(hidden)}; give layer sizes of at least 1, for example [256, 256].")
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(inputs, size), activation()]
            inputs = size
        super().__init__(*layers)
        self.width = inputs


class ResidualBlock(nn.Module):
    """``h + W2 SiLU(W1 LayerNorm(h))``, the pre-norm block of He et al. 2016 and Xiong et al. 2020."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.bias)

    def forward(self, h: Tensor) -> Tensor:
        """``(..., width)`` to the same shape."""
        return h + self.outer(nn.functional.silu(self.inner(self.norm(h))))


class Residual(Trunk):
    """``inputs -> width``, then ``blocks`` residual blocks and a last LayerNorm."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        if width < 1 or blocks < 1:
            raise UserError(f"model.width is {width} and model.blocks is {blocks}; both must be at least 1.")
        body = [ResidualBlock(width) for _ in range(blocks)]
        super().__init__(nn.Linear(inputs, width), *body, nn.LayerNorm(width), nn.SiLU())
        self.width = width
