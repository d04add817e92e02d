"""The reference for heads with attention: PyTorch's networks, linearised by autograd with held factors, are affine."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import attention_networks  # noqa: E402
from attention_networks import CASES  # noqa: E402
from held_attention import Linearised, linearise, logits_at  # noqa: E402


def linearised(name: str, block: int = 1) -> tuple[torch.nn.Module, torch.nn.Module, Linearised]:
    network = CASES[name].network()
    module = network.blocks[block]
    return network, module, linearise(network, attention_networks.picture(), module)


@pytest.mark.parametrize("name", CASES)
def test_held_network_is_the_network(name: str) -> None:
    network, _, line = linearised(name)
    torch.testing.assert_close(line.logits, network(attention_networks.picture())[0])


@pytest.mark.parametrize("name", CASES)
def test_held_network_is_affine_also_far_away(name: str) -> None:
    network, module, line = linearised(name)
    step = 3 * torch.randn(line.stream.shape, generator=torch.Generator().manual_seed(1))
    elsewhere = logits_at(network, attention_networks.picture(), module, line.stream + step, line.factors)
    expected = line.logits[line.target] + (line.gradient * step).sum()
    torch.testing.assert_close(elsewhere[line.target], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_holding_matters(name: str) -> None:
    """The true gradient is another one; if it were not, this reference could not tell a rule from a wrong one."""
    network, _, line = linearised(name)
    stream = line.stream.clone().requires_grad_()
    hook = network.blocks[1].register_forward_pre_hook(lambda module, args: (stream,))
    logit = network(attention_networks.picture())[0, line.target]
    hook.remove()
    (true,) = torch.autograd.grad(logit, stream)
    assert (true - line.gradient).norm() > 0.1 * line.gradient.norm()


def test_contributions_and_what_belongs_to_no_place_add_up() -> None:
    _, _, line = linearised("timm")
    cam = line.cam(prefix=1)
    assert cam.shape == (16,)
    shared = line.stream[0, 1:].mean(0)
    no_place = line.logits[line.target] - (line.gradient[0, 1:] * (line.stream[0, 1:] - shared)).sum()
    torch.testing.assert_close(cam.sum() + no_place, line.logits[line.target])


def test_a_factor_too_many_or_too_few_is_noticed() -> None:
    network, module, line = linearised("timm")
    line.factors.factors.append(torch.ones(1))
    with pytest.raises(AssertionError, match="fewer factors"):
        logits_at(network, attention_networks.picture(), module, line.stream, line.factors)
