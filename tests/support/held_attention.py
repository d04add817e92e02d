"""Gradients of PyTorch networks with attention weights, divisors and gates held: autograd's word on our maps.

`Held` stands between a network and PyTorch's functions. What the linearised network takes as given is detached as it
is made: attention weights, the divisors of norms, the gates `y / x` of activations, sigmoids and other gates; of a
product of two computed tensors without a gate, each factor gets half. What is held is also kept, so that the network
can be run again on other values with the same factors: it must be affine then, which shows that nothing was forgotten.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

ACTIVATIONS = (
    *(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.leaky_relu, F.elu),
    *(F.gelu, F.silu, F.mish, F.hardswish, F.tanh, torch.tanh, Tensor.tanh),
)
GATES = (
    *(
        F.softmax,
        torch.softmax,
        Tensor.softmax,
        F.sigmoid,
        torch.sigmoid,
        Tensor.sigmoid,
        Tensor.sigmoid_,
        F.hardsigmoid,
    ),
    *(torch.erf, Tensor.erf),
)
DIVISORS = (
    *(torch.sqrt, Tensor.sqrt, torch.rsqrt, Tensor.rsqrt, torch.reciprocal, Tensor.reciprocal),
    *(torch.norm, Tensor.norm, torch.linalg.norm, torch.linalg.vector_norm),
)
PRODUCTS = (
    *(torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__),
    *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm),
)
QUOTIENTS = (torch.div, Tensor.div, Tensor.__truediv__, Tensor.__rtruediv__, Tensor.div_)


class Held(TorchFunctionMode):
    """PyTorch's functions with all factors held; used as a context manager around a forward pass.

    Attributes
    ----------
    factors : list of Tensor
        What was held, in the order of its making.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[Tensor] = []
        self._again: Iterator[Tensor] | None = None
        self._rules: dict[Any, Callable[..., Any]] = {
            F.batch_norm: _batch_norm,
            F.layer_norm: self._layer_norm,
            F.rms_norm: self._rms_norm,
            F.group_norm: self._group_norm,
            F.normalize: self._normalize,
            F.scaled_dot_product_attention: self._attention,
            F.multi_head_attention_forward: self._multi_head_attention,
            Tensor.amax: self._largest,
            torch.einsum: self._einsum,
        }

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in ACTIVATIONS:
            return self._activation(function, *args, **kwargs)
        if function in GATES or function in DIVISORS:
            return self.hold(function(*args, **kwargs))
        if function in PRODUCTS:
            return self._product(function, *args)
        if function in QUOTIENTS and _computed(args[1]):
            numerator, divisor = args[::-1] if function is Tensor.__rtruediv__ else args
            return numerator / self.hold(divisor)
        return self._rules.get(function, function)(*args, **kwargs)

    @contextmanager
    def again(self) -> Iterator[None]:
        """The same factors for what runs inside, in the same order."""
        self._again = iter(self.factors)
        try:
            with self:
                yield
            if next(self._again, None) is not None:
                raise AssertionError("the second run took fewer factors than the first one held")
        finally:
            self._again = None

    def hold(self, value: Tensor) -> Tensor:
        if self._again is not None:
            return next(self._again)
        self.factors.append(value.detach())
        return self.factors[-1]

    def _activation(self, function: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        y = function(x.detach().clone(), *args, **kwargs)
        return x * self.hold(torch.where(x == 0, 0.0, y / x))

    def _product(self, function: Any, a: Any, b: Any) -> Any:
        if not (_computed(a) and _computed(b)):
            return function(a, b)
        return (function(a, self.hold(b)) + function(self.hold(a), b)) / 2

    def _einsum(self, equation: str, *operands: Any) -> Tensor:
        operands = tuple(operands[0]) if isinstance(operands[0], list | tuple) else operands
        if len(operands) != 2:
            return torch.einsum(equation, *operands)
        return self._product(lambda a, b: torch.einsum(equation, a, b), *operands)

    def _largest(self, x: Tensor, dim: int) -> Tensor:
        return x.gather(dim, self.hold(x.argmax(dim, keepdim=True))).squeeze(dim)

    def _layer_norm(
        self, x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
    ) -> Tensor:
        axes = tuple(range(-len(shape), 0))
        divisor = self.hold((x.var(axes, correction=0, keepdim=True) + eps).sqrt())
        return _scaled((x - x.mean(axes, keepdim=True)) / divisor, weight, bias)

    def _rms_norm(self, x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
        axes = tuple(range(-len(shape), 0))
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        return _scaled(x / self.hold((x.square().mean(axes, keepdim=True) + eps).sqrt()), weight, None)

    def _group_norm(
        self, x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
    ) -> Tensor:
        y = self._layer_norm(x.reshape(len(x), groups, -1), (x[0].numel() // groups,), eps=eps).reshape(x.shape)
        per_channel = (-1, *[1] * (x.ndim - 2))
        return _scaled(y, *(None if p is None else p.reshape(per_channel) for p in (weight, bias)))

    def _normalize(self, x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None) -> Tensor:
        return x / self.hold(x.norm(p, dim, keepdim=True).clamp_min(eps))

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if dropout_p or enable_gqa:
            raise NotImplementedError("attention of images has no dropout and no grouped queries")
        weights = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:  # as in a text encoder beside the one for images
            attn_mask = torch.ones(weights.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None:
            weights = (
                weights.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else weights + attn_mask
            )
        return self.hold(weights.softmax(-1)) @ value

    def _multi_head_attention(self, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        bound = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs)
        bound.apply_defaults()
        a = bound.arguments
        query, heads = a["query"], a["num_heads"]  # (tokens, N, C), the layout of nn.MultiheadAttention
        if a["use_separate_proj_weight"]:
            weights = (a["q_proj_weight"], a["k_proj_weight"], a["v_proj_weight"])
        else:
            weights = a["in_proj_weight"].chunk(3)
        biases = (None,) * 3 if a["in_proj_bias"] is None else a["in_proj_bias"].chunk(3)
        q, k, v = (
            F.linear(x, w, b).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)
            for x, w, b in zip((query, a["key"], a["value"]), weights, biases, strict=True)
        )
        y = self._attention(q, k, v, a["attn_mask"]).permute(2, 0, 1, 3).flatten(-2)
        return F.linear(y, a["out_proj_weight"], a["out_proj_bias"]), None


def _batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """At inference, written out: the gradient of PyTorch 2.13 on CPUs is wrong if what arrives is channels last."""
    if training:
        raise NotImplementedError("a network in evaluation mode was expected")
    scale, per_channel = weight / (variance + eps).sqrt(), (-1, *[1] * (x.ndim - 2))
    return _scaled(x, scale.reshape(per_channel), (bias - mean * scale).reshape(per_channel))


def _computed(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


@dataclass(frozen=True)
class Linearised:
    """A network from one module's input on, linearised with its factors held.

    Attributes
    ----------
    logits : Tensor
        (classes,) of the network.
    stream : Tensor
        (1, ...) the input of `module` for this picture.
    gradient : Tensor
        (1, ...) of the logit of `target` with respect to the stream, in its layout.
    target : int
    factors : Held
    """

    logits: Tensor
    stream: Tensor
    gradient: Tensor
    target: int
    factors: Held

    def cam(self, prefix: int = 0, suffix: int = 0) -> Tensor:
        """(tokens,) contributions of the patches of a stream (1, tokens, C), without what all of them share.

        Parameters
        ----------
        prefix, suffix : int
            Tokens before and behind the patches: class, register and distillation tokens.
        """
        patches = slice(prefix, self.stream.shape[1] - suffix)
        return contributions(self.stream[0, patches], self.gradient[0, patches])


def contributions(tokens: Tensor, gradient: Tensor) -> Tensor:
    """(T,) gradient x activation of (T, C) tokens, less the mean token."""
    return (gradient * (tokens - tokens.mean(0))).sum(-1)


def linearise(network: nn.Module, picture: Tensor, module: nn.Module, target: int | None = None) -> Linearised:
    """Linearise `network` from the input of `module` on, for one picture (1, 3, height, width).

    Parameters
    ----------
    network : nn.Module
        Returns logits (1, classes); in evaluation mode. Its parameters are frozen.
    picture : Tensor
    module : nn.Module
        Part of the network. The first positional argument of its first call is the stream.
    target : int, optional
        The class; by default that of the highest logit.
    """
    network.requires_grad_(False)  # else every product with a weight is one of two computed tensors
    factors = Held()
    with _replaced(module, lambda x: x.detach().requires_grad_()) as seen, factors:
        logits = network(picture)[0]
    target = int(logits.argmax()) if target is None else target
    (gradient,) = torch.autograd.grad(logits[target], seen[0])
    return Linearised(logits.detach(), seen[0].detach(), gradient, target, factors)


def logits_at(network: nn.Module, picture: Tensor, module: nn.Module, stream: Tensor, factors: Held) -> Tensor:
    """(classes,) logits of the network linearised by `factors`, where the input of `module` is `stream` instead."""
    with _replaced(module, lambda _: stream.detach().requires_grad_()), factors.again():
        return network(picture)[0].detach()


@contextmanager
def _replaced(module: nn.Module, leaf: Callable[[Tensor], Tensor]) -> Iterator[list[Tensor]]:
    """Replace the input of `module` by a leaf from which gradients start; gives the leaves, one a call."""
    seen: list[Tensor] = []

    def start(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(leaf(args[0]))
        return (seen[-1].view_as(seen[-1]), *args[1:])

    handle = module.register_forward_pre_hook(start)
    try:
        yield seen
    finally:
        handle.remove()
