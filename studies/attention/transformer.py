"""A transformer whose factors can be held at their values.

Held are the attention weights, the divisors of the layer normalisations and the gates of the activations (`.detach()`);
the logits are then affine in the tokens at the input of any block, and their gradient there is exact.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CLASS_TOKEN", "MEAN", "Head", "Transformer"]

CLASS_TOKEN, MEAN = "class token", "mean of tokens"


class Norm(nn.LayerNorm):
    """Layer normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def held(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt().detach() * self.weight + self.bias


class Block(nn.Module):
    """Attention and perceptron of one block, each with a scale for every channel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale1, self.scale2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        mixed = functional.scaled_dot_product_attention(
            *(self._split(f(y)) for f in (self.query, self.key, self.value))
        )
        x = x + self.scale1 * self.output(self._joined(mixed))
        return x + self.scale2 * self.fc2(functional.gelu(self.fc1(self.norm2(x))))

    def held(self, x: Tensor) -> Tensor:
        """The same with its factors held."""
        y = self.norm1.held(x)
        return self._perceptron_held(x + self._mixed(self._weights(y), self._split(self.value(y))))

    def of_class_token(self, x: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        """The class token's next state `(1, 1, width)` from its own, with the values that it attends to given."""
        return self._perceptron_held(x + self._mixed(weights, values))

    @torch.no_grad()
    def attended(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values `(1, heads, tokens, width / heads)`, and the class token's weights `(1, heads, 1, tokens)`."""
        y = self.norm1(x)
        return self._split(self.value(y)), self._weights(y)[:, :, :1]

    def _weights(self, y: Tensor) -> Tensor:
        query, key = self._split(self.query(y)), self._split(self.key(y))
        return (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1).detach()

    def _mixed(self, weights: Tensor, values: Tensor) -> Tensor:
        return self.scale1 * self.output(self._joined(weights @ values))

    def _perceptron_held(self, x: Tensor) -> Tensor:
        entry = self.fc1(self.norm2.held(x))
        gate = (1 + torch.erf(entry.detach() / 2**0.5)) / 2
        return x + self.scale2 * self.fc2(entry * gate)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self._heads, -1)).transpose(1, 2)

    @staticmethod
    def _joined(x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


class Transformer(nn.Module):
    """Blocks over tokens, and a normalisation behind them; `embed` makes the tokens.

    Parameters
    ----------
    depth, width, heads : int
        Number of blocks, channels of a token, heads of a block.
    grid : tuple of int
        Rows and columns of patch tokens.
    prefix : int
        Tokens before them that have no position.
    """

    def __init__(self, depth: int, width: int, heads: int, grid: tuple[int, int], prefix: int) -> None:
        super().__init__()
        self.grid, self.prefix = grid, prefix
        self.positions = nn.Parameter(torch.zeros(1, prefix + grid[0] * grid[1], width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = Norm(width)

    def embed(self, pictures: np.ndarray) -> Tensor:
        """`(n, 224, 224, 3)` uint8 to tokens `(n, prefix + rows * columns, width)`."""
        raise NotImplementedError

    def through(self, x: Tensor, first: int = 0) -> Tensor:
        """The last blocks and the normalisation."""
        for block in self.blocks[first:]:
            x = block(x)
        return self.norm(x)

    def pool(self, tokens: Tensor, kind: str) -> Tensor:
        """What a head reads, `(n, width)`."""
        return tokens[:, 0] if kind == CLASS_TOKEN else tokens[:, self.prefix :].mean(1)

    @torch.no_grad()
    def pooled(self, pictures: np.ndarray) -> dict[str, Tensor]:
        """The same for every kind of head; in bfloat16, which takes 0.4 of the time."""
        with torch.autocast("cpu", torch.bfloat16):
            tokens = self.through(self.embed(pictures)).float()
        return {kind: self.pool(tokens, kind) for kind in ((CLASS_TOKEN, MEAN) if self.prefix else (MEAN,))}


class Head:
    """Logits that are linear in the class token or in the mean of the patch tokens.

    Parameters
    ----------
    kind : str
        `CLASS_TOKEN` or `MEAN`.
    weight, bias : Tensor
        `(groups, width)` and `(groups,)`.
    """

    def __init__(self, kind: str, weight: Tensor, bias: Tensor) -> None:
        self.kind, self.weight, self.bias = kind, weight, bias

    def probabilities(self, pooled: Tensor) -> np.ndarray:
        """`(n, width)` to `(n, groups)`."""
        found: np.ndarray = (pooled @ self.weight.T + self.bias).softmax(-1).numpy()
        return found

    def logit(self, pooled: Tensor, group: int) -> Tensor:
        """`(n, width)` to `(n,)`."""
        return pooled @ self.weight[group] + self.bias[group]
