"""torchvision's networks with random weights whose numbers keep a usual size, and both exporters of PyTorch."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision

from secam_onnx.photograph.images import read_image
from secam_onnx.photograph.preprocessing import Preprocessing

__all__ = ["WithAuxiliaryHeads", "built", "fed", "write"]


class WithAuxiliaryHeads(torch.nn.Module):
    """GoogLeNet as it is trained: three outputs, also at inference."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.aux = {}
        network.inception4a.register_forward_hook(lambda module, args, output: self.aux.update(aux1=output))
        network.inception4d.register_forward_hook(lambda module, args, output: self.aux.update(aux2=output))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = self.network(image)
        return logits, self.network.aux1(self.aux["aux1"]), self.network.aux2(self.aux["aux2"])


@functools.lru_cache(maxsize=1)
def built(name: str, size: int) -> torch.nn.Module:
    """A network with random weights whose numbers keep a usual size on their way."""
    torch.manual_seed(0)
    options = {}
    if name in ("inception_v3", "googlenet"):
        options = {"init_weights": False, "transform_input": True}
    network = torchvision.models.get_model(name, weights=None, **options)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None
    if norms:
        with torch.no_grad():
            network.train()(torch.randn(4, 3, size, size))
    for module in network.modules():  # zeros are left out by one exporter, and would hide a lost bias
        if isinstance(module, torch.nn.Linear) and module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.1)
    network = network.eval()
    return WithAuxiliaryHeads(network).eval() if name == "googlenet" else network


def write(network: torch.nn.Module, size: int, exporter: str, path: Path, outputs: list[str]) -> None:
    example = torch.zeros(2, 3, size, size)
    options = {"input_names": ["image"], "output_names": outputs}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            batch = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(
                network, (example,), dynamo=True, dynamic_shapes=batch, verbose=False, **options
            )
            program.save(path)
        else:
            axes = {name: {0: "batch"} for name in ("image", *outputs)}
            torch.onnx.export(network, (example,), path, dynamo=False, dynamic_axes=axes, opset_version=17, **options)


def fed(size: int, photo: Path) -> np.ndarray:
    """A photograph and noise."""
    preprocessing = Preprocessing.preset("torchvision", (size, size))
    image = read_image(photo)
    noise = np.random.default_rng(3).integers(0, 256, image.shape, dtype=np.uint8)
    return np.concatenate([preprocessing.normalise(preprocessing.crop(picture)[0]) for picture in (image, noise)])
