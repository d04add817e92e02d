"""Small transformers in PyTorch, with the blocks that timm, torchvision and others write, and random weights."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, CLASSES, SIDE = 32, 4, 6, 4
"""Channels, heads, classes, and patches along one side of the picture."""

PICTURE = (1, 3, 8 * SIDE, 8 * SIDE)


class JointAttention(nn.Module):
    """Query, key and value of one layer, split off as timm does: the batch is not the leading axis of their tensor."""

    def __init__(self, rotary: bool = False, normalised: bool = False) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH // HEADS) if normalised else nn.Identity() for _ in range(2)])
        self.rotary = rotary

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = (norm(t) for norm, t in zip(self.norms, (q, k), strict=True))
        if self.rotary:
            angle = torch.arange(tokens)[:, None] * torch.linspace(0.1, 1, WIDTH // HEADS)
            q, k = (t * angle.cos() + torch.cat([-t[..., 1::2], t[..., ::2]], -1) * angle.sin() for t in (q, k))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(n, tokens, -1))


class LibraryAttention(nn.Module):
    """PyTorch's own module, which torchvision takes; tokens lead inside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return y


class Windows(nn.Module):
    """Attention inside of shifted windows of 2 x 2 patches, which Swin takes."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = JointAttention()

    def forward(self, x: Tensor) -> Tensor:
        n, half = x.shape[0], SIDE // 2
        y = x.reshape(n, SIDE, SIDE, -1).roll((-1, -1), (1, 2))
        y = y.reshape(n, half, 2, half, 2, -1).transpose(2, 3).reshape(n * half * half, 4, -1)
        y = self.attention(y).reshape(n, half, half, 2, 2, -1).transpose(2, 3)
        return y.reshape(n, SIDE, SIDE, -1).roll((1, 1), (1, 2)).reshape(x.shape)


class TalkingHeads(nn.Module):
    """Attention weights mixed over heads before and after the softmax, which CaiT does."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.before, self.after = nn.Linear(HEADS, HEADS), nn.Linear(HEADS, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        weights = self.before((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).softmax(-2)
        weights = self.after(weights).permute(0, 3, 1, 2)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, tokens, -1))


class Gelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


class QuickGelu(Gelu):
    """CLIP's: x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers[0](x)
        out: Tensor = self.layers[2](y * torch.sigmoid(1.702 * y))
        return out


class SwiGlu(nn.Module):
    """A product of two computed tensors, each of which gets half."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return y


class RmsNorm(nn.Module):
    """Written in primitives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    def __init__(self, attention: nn.Module, mlp: nn.Module, norm: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention, self.mlp = norm(), norm(), attention, mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class AttentionPool(nn.Module):
    """A learned query asks all tokens, as in SigLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm, self.mlp = nn.LayerNorm(WIDTH), Gelu()

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(self.probe.expand(x.shape[0], -1, -1), x, x, need_weights=False)[0]
        pooled: Tensor = (y + self.mlp(self.norm(y)))[:, 0]
        return pooled


def first_token(x: Tensor) -> Tensor:
    return x[:, 0]


class Transformer(nn.Module):
    """Patches of 8 x 8 pixels, constant tokens before them, blocks, one vector a picture, logits.

    Parameters
    ----------
    block : callable
        Makes a block.
    prefix : int
        Class and register tokens.
    pool : callable
        From normalised tokens to one vector.
    cosine : bool
        Whether the logits are similarities to given vectors, as in CLIP's zero-shot classes.
    """

    def __init__(
        self,
        block: Callable[[], nn.Module],
        prefix: int = 1,
        pool: Callable[[Tensor], Tensor] = first_token,
        depth: int = 3,
        cosine: bool = False,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.tokens = nn.Parameter(torch.zeros(1, prefix, WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, prefix + SIDE * SIDE, WIDTH))
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        self.norm, self.pool, self.head = nn.LayerNorm(WIDTH), pool, nn.Linear(WIDTH, CLASSES, bias=not cosine)
        self.cosine = cosine

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.tokens.shape[1]:
            x = torch.cat([self.tokens.expand(x.shape[0], -1, -1), x], 1)
        x = self.pool(self.norm(self.blocks(x + self.positions)))
        x = 5 * x / x.norm(dim=-1, keepdim=True) if self.cosine else x
        y: Tensor = self.head(x)
        return y


@dataclass(frozen=True)
class Case:
    """A network's parts; `prefix` constant tokens before the patches, `after` attention products behind the blocks."""

    attention: Callable[[], nn.Module] = JointAttention
    mlp: Callable[[], nn.Module] = Gelu
    norm: Callable[[], nn.Module] = lambda: nn.LayerNorm(WIDTH)
    prefix: int = 1
    pool: Callable[[], Callable[[Tensor], Tensor]] = lambda: first_token
    cosine: bool = False
    after: int = 0

    def network(self) -> Transformer:
        network = Transformer(
            lambda: Block(self.attention(), self.mlp(), self.norm), self.prefix, self.pool(), cosine=self.cosine
        )
        return seeded(network)


CASES = {
    "timm": Case(),
    "torchvision": Case(LibraryAttention),
    "CLIP, zero-shot": Case(LibraryAttention, QuickGelu, cosine=True),
    "registers, rotary positions, SwiGLU, RMS norm": Case(
        lambda: JointAttention(rotary=True), SwiGlu, RmsNorm, prefix=5
    ),
    "normalised queries, mean of patches": Case(
        lambda: JointAttention(normalised=True), pool=lambda: lambda x: x[:, 1:].mean(1)
    ),
    "attention pool": Case(prefix=0, pool=AttentionPool, after=1),
    "shifted windows, mean of patches": Case(Windows, prefix=0, pool=lambda: lambda x: x.mean(1)),
    "talking heads": Case(TalkingHeads),
}


def seeded(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with random weights, of a size at which attention, gates and logits differ from place to place."""
    random = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=random)
        last = name.rpartition(".")[2]
        if "logit_" in name:
            continue
        if last != "bias" and re.search("token|pos|probe|latent|bias|class_embedding", name.replace("norm", "")):
            value = 0.5 * noise
        elif parameter.numel() == max(parameter.shape, default=1):
            value = 0.1 * noise if "bias" in last else 1 + 0.2 * noise
        else:
            value = 1.2 * noise * parameter[0].numel() ** -0.5
        parameter.data.copy_(value)
    return network.eval()


def settled(network: nn.Module, size: int) -> nn.Module:
    """The network, whose batch norms have seen four random pictures."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for module in norms:
        module.train().reset_running_stats()
        module.momentum = None
    with torch.no_grad():
        network(torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1)))
    return network.eval()


def write(network: nn.Module, exporter: str, path: Path, size: int = PICTURE[-1], opset: int = 18) -> None:
    """Export with a batch of any length."""
    example = picture(size=size).repeat(2, 1, 1, 1)
    # With gradients dynamo cannot view what masked attention returns; without, TorchScript lacks an operator of
    # PyTorch's attention.
    network.requires_grad_(exporter != "dynamo")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            batch = ({0: torch.export.Dim("batch")},)
            options = {"opset_version": opset}
            program = torch.onnx.export(
                network, (example,), dynamo=True, dynamic_shapes=batch, verbose=False, **options
            )
            program.save(path)
        else:
            names = {"input_names": ["image"], "output_names": ["logits"]}
            axes = {name: {0: "batch"} for name in ("image", "logits")}
            torch.onnx.export(network, (example,), path, dynamo=False, dynamic_axes=axes, opset_version=17, **names)


def picture(seed: int = 0, size: int = PICTURE[-1]) -> Tensor:
    """(1, 3, size, size) of normal numbers."""
    return torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(seed))
