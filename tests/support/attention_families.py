"""Transformers of torchvision, timm and transformers: small ones, with the blocks and exports of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from attention_networks import seeded, settled
from torch import Tensor, nn

__all__ = ["FAMILIES", "Family", "Logits"]

PATCHES = 112
"""Height and width of most pictures: 7 x 7 patches of 16 x 16."""


class Logits(nn.Module):
    """A network of transformers, with the logits as its only output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        output = self.network(image)
        logits: Tensor = getattr(output, "logits", output)
        return logits


@dataclass(frozen=True)
class Family:
    """How a network is built, and where its tokens are.

    Attributes
    ----------
    build : callable
        Makes the network.
    blocks : callable
        Gives its blocks of attention, in their order; each reads the residual stream.
    prefix : int
        Constant tokens before the patches.
    layout : str
        NLC, NHWC or NCHW: that of the residual stream.
    size : int
        Height and width of the picture.
    after : int
        Products of attention weights and values behind the last block, as in a pool.
    """

    build: Callable[[], nn.Module]
    blocks: Callable[[Any], Sequence[nn.Module]]
    prefix: int = 1
    layout: str = "NLC"
    size: int = PATCHES
    after: int = 0

    def network(self) -> tuple[nn.Module, Sequence[nn.Module]]:
        network = self.build()
        blocks = list(self.blocks(network))
        return settled(seeded(Logits(network)), self.size), blocks

    def cells(self, stream: Tensor) -> Tensor:
        """(patches, C) of the residual stream of one picture."""
        if self.layout == "NLC":
            return stream[0, self.prefix :]
        return stream[0].flatten(0, 1) if self.layout == "NHWC" else stream[0].flatten(1).T


def timm(name: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        models = pytest.importorskip("timm")
        models.layers.set_fused_attn(False)  # rotary positions with fused attention have no TorchScript export
        network: nn.Module = models.create_model(name, num_classes=10, **options)
        return network

    return build


def vit(name: str, **options: object) -> Callable[[], nn.Module]:
    return timm(name, depth=4, embed_dim=96, num_heads=3, img_size=PATCHES, **options)


def transformers(model: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        library = pytest.importorskip("transformers")
        common = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3, "image_size": PATCHES}
        common |= {"intermediate_size": 192, "patch_size": 16, "num_labels": 10}
        config = getattr(library, f"{model}Config")(**{**common, **options})
        network: nn.Module = getattr(library, f"{model}ForImageClassification")(config)
        return network

    return build


def torchvision(name: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        models = pytest.importorskip("torchvision").models
        if name == "swin_v2":
            from torchvision.models import swin_transformer as swin

            options.update(block=swin.SwinTransformerBlockV2, downsample_layer=swin.PatchMergingV2)
        network: nn.Module = {"vit": models.VisionTransformer}.get(name, models.SwinTransformer)(
            num_classes=10, **options
        )
        return network

    return build


def longest(network: nn.Module) -> Sequence[nn.Module]:
    """The longest list of modules, which is that of the blocks."""
    return list(max((m for m in network.modules() if isinstance(m, nn.ModuleList)), key=len))


def of_blocks(network: Any) -> Sequence[nn.Module]:
    return list(network.blocks)


SWIN: dict[str, Any] = {
    "patch_size": [4, 4], "embed_dim": 24, "depths": [1, 2, 2], "num_heads": [1, 2, 3], "window_size": [7, 7],
}  # fmt: skip
TV_VIT: dict[str, Any] = {"image_size": PATCHES, "patch_size": 16, "num_layers": 4, "num_heads": 4}
TV_VIT |= {"hidden_dim": 96, "mlp_dim": 192}


def swin_blocks(network: Any) -> Sequence[nn.Module]:
    return [block for stage in (1, 3, 5) for block in network.features[stage]]


FAMILIES = {
    "torchvision VisionTransformer": Family(torchvision("vit", **TV_VIT), lambda net: list(net.encoder.layers)),
    "torchvision SwinTransformer": Family(torchvision("swin", **SWIN), swin_blocks, layout="NHWC"),
    "torchvision SwinTransformer v2": Family(torchvision("swin_v2", **SWIN), swin_blocks, layout="NHWC"),
    "timm ViT": Family(vit("vit_tiny_patch16_224"), of_blocks),
    "timm ViT, mean of patches": Family(vit("vit_base_patch16_224", global_pool="avg"), of_blocks),
    "timm distilled DeiT": Family(vit("deit_tiny_distilled_patch16_224"), of_blocks, prefix=2),
    "timm BEiT": Family(vit("beit_base_patch16_224"), of_blocks),
    "timm EVA-02": Family(vit("eva02_tiny_patch14_224"), of_blocks),
    "timm DINOv2 with registers": Family(vit("vit_small_patch14_reg4_dinov2"), of_blocks, prefix=5),
    "timm DINOv3": Family(vit("vit_small_patch16_dinov3"), of_blocks, prefix=5),
    "timm SigLIP": Family(vit("vit_base_patch16_siglip_224"), of_blocks, prefix=0, after=1),
    "timm XCiT": Family(
        timm("xcit_nano_12_p16_224", img_size=PATCHES, depth=4, embed_dim=96, num_heads=3), of_blocks, prefix=0, after=2
    ),
    "timm CaiT": Family(vit("cait_xxs24_224"), of_blocks, prefix=0, after=2),
    "timm PVT v2": Family(
        timm("pvt_v2_b0", depths=(1, 1, 2, 2)), lambda net: [b for s in net.stages for b in s.blocks], prefix=0, size=64
    ),
    "transformers ViT": Family(transformers("ViT"), longest),
    "transformers DeiT": Family(transformers("DeiT"), longest, prefix=2),
    "transformers BEiT": Family(transformers("Beit", use_relative_position_bias=True), longest),
    "transformers DINOv2": Family(transformers("Dinov2", patch_size=14, mlp_ratio=2), longest),
}
"""Each has one product of attention weights and values a block."""
