"""The held transformer: the same values, and a gradient that is exact for the frozen function."""

import numpy as np
import pytest
import torch

from studies.attention import lime
from studies.attention.maps import VALUES, held_maps, masked_maps
from studies.attention.transformer import CLASS_TOKEN, MEAN, Head, Transformer

GRID = (3, 4)
PICTURE = np.zeros((6, 8, 3), dtype=np.uint8)


class Small(Transformer):
    def __init__(self, prefix: int) -> None:
        super().__init__(depth=3, width=8, heads=2, grid=GRID, prefix=prefix)

    def embed(self, pictures: np.ndarray) -> torch.Tensor:
        return self.positions.expand(len(pictures), -1, -1).clone()


def network(prefix: int) -> Small:
    torch.manual_seed(1)
    made = Small(prefix).double()
    for parameter in made.parameters():
        parameter.data.normal_(std=0.7)
    return made.requires_grad_(False)


def head(kind: str) -> Head:
    return Head(kind, torch.randn(5, 8, dtype=torch.double), torch.zeros(5, dtype=torch.double))


def test_holding_changes_no_value() -> None:
    made = network(1)
    x = held = made.embed(PICTURE[None])
    for block in made.blocks:
        x, held = block(x), block.held(held)
    torch.testing.assert_close(held, x)
    torch.testing.assert_close(made.norm.held(held), made.norm(x))


@pytest.mark.parametrize(("kind", "prefix"), [(CLASS_TOKEN, 1), (MEAN, 1), (MEAN, 0)])
def test_what_all_places_share_counts_for_none(kind: str, prefix: int) -> None:
    made, of = network(prefix), head(kind)
    maps = held_maps(made, of, PICTURE, 2)
    assert {entry.shape for entry in maps.values()} == {(12,)}
    assert (VALUES in maps) == (kind == CLASS_TOKEN)
    made.positions.data[:, prefix:] = made.positions.data[:, prefix : prefix + 1]
    for entry in held_maps(made, of, PICTURE, 2).values():
        np.testing.assert_allclose(entry, 0, atol=1e-10)


def test_values_of_the_last_block_by_hand() -> None:
    made, of = network(1), head(CLASS_TOKEN)
    made.blocks = made.blocks[-1:]
    (block,), x = made.blocks, made.embed(PICTURE[None])
    values, weights = block.attended(x)
    mixed = (weights @ values).requires_grad_()
    taken = x[:, :1] + block.scale1 * block.output(mixed.transpose(1, 2).flatten(2))
    gate = torch.erf(block.fc1(block.norm2(taken.detach())) / 2**0.5) / 2 + 0.5
    last = taken + block.scale2 * block.fc2(block.fc1(block.norm2.held(taken)) * gate)
    (slope,) = torch.autograd.grad(of.logit(made.norm.held(last)[:, 0], 2), mixed)
    parts = torch.einsum("ht,htd,hd->t", weights[0, :, 0], values[0], slope[0, :, 0])[1:]
    np.testing.assert_allclose(held_maps(made, of, PICTURE, 2)[VALUES], parts - parts.mean(), rtol=1e-8)


def test_masking_a_linear_head_is_its_map() -> None:
    """Behind the last normalisation, the mean of tokens is linear in each."""
    made, of = network(0).float(), head(MEAN)
    of.weight, of.bias = of.weight.float(), of.bias.float()
    found = masked_maps(made, of, PICTURE, 2, blocks=0)
    x = made.embed(PICTURE[None])
    for block in made.blocks:
        x = block(x)
    expected = (made.norm(x)[0] @ of.weight[2]) / 12
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), rtol=1e-4, atol=1e-6)


def test_lime_finds_an_additive_score() -> None:
    segments = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int))
    shown = lime.masks(200, segments, seed=0)
    assert shown[0].all()
    weights = lime.regress(shown, shown @ np.array([3.0, 0.0, -2.0, 1.0]))
    np.testing.assert_allclose(weights, [3, 0, -2, 1], atol=0.2)
