"""Linear heads fitted to one half of the photographs: they give a network classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from studies.attention.photographs import GROUPS, Photograph, crops
from studies.attention.transformer import Head, Transformer

__all__ = ["features", "fit"]

CROPS = 3
DECAY = 1e-3


def features(network: Transformer, photographs: Sequence[Photograph], cache: Path) -> dict[str, Tensor]:
    """What each head reads of `CROPS` crops of each photograph, `(photographs, crops, width)`; kept in a file."""
    if not cache.is_file():
        random = np.random.default_rng(1)
        found = [network.pooled(np.stack(list(crops(entry, CROPS, random)))) for entry in photographs]
        torch.save({kind: torch.stack([row[kind] for row in found]) for kind in found[0]}, cache)
    stored: dict[str, Tensor] = torch.load(cache)
    return stored


def fit(kind: str, read: Tensor, groups: Sequence[int]) -> Head:
    """Multinomial logistic regression with weight decay, on standardised features; groups weigh alike.

    Parameters
    ----------
    kind : str
        What the head reads.
    read : Tensor
        `(photographs, crops, width)`.
    groups : sequence of int
        Of each photograph.
    """
    torch.manual_seed(0)
    rows, target = read.flatten(0, 1), torch.tensor(groups).repeat_interleave(read.shape[1])
    mean, deviation = rows.mean(0), rows.std(0)
    weight = torch.zeros(len(GROUPS), rows.shape[1], requires_grad=True)
    bias = torch.zeros(len(GROUPS), requires_grad=True)
    share = torch.bincount(target, minlength=len(GROUPS)).clamp(min=1).float()
    loss = torch.nn.CrossEntropyLoss(weight=1 / share)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")
    scaled = (rows - mean) / deviation

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(scaled @ weight.T + bias, target) + DECAY * weight.square().sum()
        value.backward()
        return value

    optimiser.step(closure)
    own = (weight / deviation).detach()
    return Head(kind, own, bias.detach() - own @ mean)
