"""Networks of torchvision, timm and transformers with random weights, written by both exporters of PyTorch.

    python tools/real_files/networks.py timm/vit_tiny_patch16_224 dynamo vit.onnx

Weights are random, so that nothing is downloaded; their numbers keep a usual size on their way through the network.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))

import torch
import torchvision_cpu  # noqa: F401  (before torchvision)

__all__ = ["EXPORTERS", "HAND", "build", "write"]

EXPORTERS = ("dynamo", "torchscript")

TORCHVISION = {
    "convnext_tiny": 224, "densenet121": 224, "efficientnet_v2_s": 224, "maxvit_t": 224, "mnasnet0_5": 224,
    "mobilenet_v3_small": 224, "regnet_x_400mf": 224, "resnext50_32x4d": 224, "shufflenet_v2_x0_5": 224,
    "squeezenet1_0": 224, "swin_v2_t": 256, "vgg11_bn": 224,
}  # fmt: skip

TIMM = {
    "cait_xxs24_224": 224, "coat_tiny": 224, "coatnet_pico_rw_224": 224, "convnextv2_atto": 224,
    "crossvit_tiny_240": 240, "deit_tiny_distilled_patch16_224": 224, "deit3_small_patch16_224": 224,
    "dla34": 224, "edgenext_xx_small": 256, "efficientvit_b0": 224, "eva02_tiny_patch14_224": 224, "fastvit_t8": 256,
    "flexivit_small": 240, "ghostnet_100": 224, "hrnet_w18_small": 224, "levit_128s": 224, "mixer_s32_224": 224,
    "mobilenetv4_conv_small": 224, "mobileone_s0": 224, "mobilevit_xxs": 256, "nf_resnet26": 224, "pit_ti_224": 224,
    "poolformer_s12": 224, "pvt_v2_b0": 224, "repvgg_a0": 224, "resmlp_12_224": 224, "rexnet_100": 224,
    "seresnext26d_32x4d": 224, "swin_tiny_patch4_window7_224": 224, "tf_efficientnet_lite0": 224,
    "tnt_s_patch16_224": 224, "twins_svt_small": 224, "vit_small_patch14_dinov2": 224,
    "vit_small_patch14_reg4_dinov2": 224, "vit_tiny_patch16_224": 224, "visformer_tiny": 224,
    "xcit_nano_12_p16_224": 224,
}  # fmt: skip

TRANSFORMERS: dict[str, dict[str, Any]] = {
    "BeitForImageClassification": {"use_relative_position_bias": True},
    "CLIPForImageClassification": {},
    "ConvNextForImageClassification": {},
    "CvtForImageClassification": {},
    "DeiTForImageClassificationWithTeacher": {},
    "Dinov2ForImageClassification": {},
    "Dinov2WithRegistersForImageClassification": {},
    "FocalNetForImageClassification": {},
    "MobileNetV2ForImageClassification": {},
    "PoolFormerForImageClassification": {},
    "ResNetForImageClassification": {"embedding_size": 32, "hidden_sizes": [64, 128, 160, 192], "depths": [1, 1, 2, 1]},
    "SiglipForImageClassification": {},
    "SwinForImageClassification": {"image_size": 224},
    "ViTForImageClassification": {},
    "ViTMSNForImageClassification": {},
}
_SMALL_ENCODER = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 192}

HAND = [
    *(f"torchvision/{name}" for name in TORCHVISION),
    *(f"timm/{name}" for name in TIMM),
    *(f"transformers/{name}" for name in TRANSFORMERS),
]
"""The networks, each `library/name`."""


class Logits(torch.nn.Module):
    """A network of transformers without the names of its outputs."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=image).logits


def build(network: str) -> tuple[torch.nn.Module, int]:
    """A network `library/name` in inference mode, and the height and width of its input in pixels."""
    torch.manual_seed(0)
    library, name = network.split("/")
    if library == "torchvision":
        import torchvision

        model, size = torchvision.models.get_model(name, weights=None), TORCHVISION[name]
    elif library == "timm":
        import timm

        size = TIMM[name]
        sized = {"img_size": size} if "dinov2" in name else {}
        model = timm.create_model(name, pretrained=False, **sized)
    else:
        model, size = _of_transformers(name), 224
    _with_usual_numbers(model, size)
    return model.eval(), size


def _of_transformers(name: str) -> torch.nn.Module:
    import transformers

    network = getattr(transformers, name)
    fields = vars(network.config_class())
    vision = vars(fields["vision_config"]) if "vision_config" in fields else fields
    small = {key: value for key, value in _SMALL_ENCODER.items() if isinstance(vision.get(key), int)}
    of_vision = {**small, **TRANSFORMERS[name]}
    own: dict[str, Any] = of_vision if vision is fields else {"vision_config": of_vision}
    if isinstance(vision.get("image_size"), int):
        of_vision["image_size"] = 224
    config = network.config_class(**own, num_labels=10, attn_implementation="eager")
    return Logits(network(config))


def _with_usual_numbers(model: torch.nn.Module, size: int) -> None:
    """No layer that its initial values switch off, and batch norms that have seen numbers."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and (parameter.std() == 0 or parameter.abs().max() < 1e-3):
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        for module in norms:
            module.reset_running_stats()
            module.momentum = None
        if norms:
            model.train()(torch.randn(4, 3, size, size))


def write(network: str, exporter: str, path: Path) -> None:
    """Export a network with an open batch axis.

    Parameters
    ----------
    network : str
        `library/name`.
    exporter : {'dynamo', 'torchscript'}
        Which of PyTorch's exporters.
    path : Path
        The file that is written.
    """
    model, size = build(network)
    example = torch.zeros(2, 3, size, size)
    names = {"input_names": ["image"], "output_names": ["logits"]}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            batch = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(model, (example,), dynamo=True, dynamic_shapes=batch, verbose=False, **names)
            program.save(path)
        else:
            axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
            torch.onnx.export(model, (example,), path, dynamo=False, dynamic_axes=axes, opset_version=17, **names)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
