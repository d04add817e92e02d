"""Maps of the patch tokens: held at every cut, stopped at the values, masking at the last map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from studies.attention.transformer import CLASS_TOKEN, Head, Transformer

__all__ = ["VALUES", "average", "held_maps", "masked_maps"]

VALUES = "stop at V"


def held_maps(network: Transformer, head: Head, picture: np.ndarray, group: int) -> dict[int | str, np.ndarray]:
    """Gradient x (token - mean of patch tokens) of one logit, all factors held.

    Parameters
    ----------
    picture : ndarray
        `(224, 224, 3)` uint8.
    group : int
        Whose logit.

    Returns
    -------
    dict
        Map `(cells,)` for each number of blocks between cut and logit, from 1 to all, and under `VALUES` that of the
        values in all blocks, as far as the class token takes them.
    """
    with torch.no_grad():
        x = network.embed(picture[None])
    entries = [x.requires_grad_()]
    for block in network.blocks:
        entries.append(block.held(entries[-1]))
    *entries, last = entries
    gradients = torch.autograd.grad(_logit(network, head, network.norm.held(last), group), entries)
    maps: dict[int | str, np.ndarray] = {}
    for cut, (token, slope) in enumerate(zip(entries, gradients, strict=True)):
        patches = token[0, network.prefix :].detach()
        maps[len(entries) - cut] = ((patches - patches.mean(0)) * slope[0, network.prefix :]).sum(-1).numpy()
    if head.kind == CLASS_TOKEN:
        maps[VALUES] = _values_map(network, head, entries, group)
    return maps


def _values_map(network: Transformer, head: Head, entries: Sequence[Tensor], group: int) -> np.ndarray:
    """Walk along the class token's own stream; what its attention takes from the values of a patch is that patch's."""
    x, taken = entries[0][:, :1].detach(), []
    for block, entry in zip(network.blocks, entries, strict=True):
        values, weights = block.attended(entry)
        taken.append(values.requires_grad_())
        x = block.of_class_token(x, taken[-1], weights)
    slopes = torch.autograd.grad(head.logit(network.norm.held(x)[:, 0], group), taken)
    parts = sum((values.detach() * slope).sum((0, 1, 3))[1:] for values, slope in zip(taken, slopes, strict=True))
    return (parts - parts.mean()).numpy()


def average(maps: dict[int | str, np.ndarray], cuts: Sequence[int]) -> np.ndarray:
    """The mean of held maps at several cuts."""
    return np.mean([maps[cut] for cut in cuts], axis=0)


@torch.no_grad()
def masked_maps(network: Transformer, head: Head, picture: np.ndarray, group: int, blocks: int) -> np.ndarray:
    """The logit of each patch token alone, all others zero, at the input of the last blocks (0: after the last).

    The class token is always kept, as the package keeps tokens that have no position.
    """
    x = network.embed(picture[None])
    first = len(network.blocks) - blocks
    for block in network.blocks[:first]:
        x = block(x)
    cells = x.shape[1] - network.prefix
    masks = torch.cat([torch.ones(cells, network.prefix), torch.eye(cells)], 1)[..., None]
    found = []
    for part in masks.split(32):
        with torch.autocast("cpu", torch.bfloat16):
            tokens = network.through(x * part, first)
        found.append(_logit(network, head, tokens.float(), group))
    return torch.cat(found).numpy()


def _logit(network: Transformer, head: Head, tokens: Tensor, group: int) -> Tensor:
    return head.logit(network.pool(tokens, head.kind), group)
