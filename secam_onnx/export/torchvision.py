"""Torchvision as a source: build a network, load weights, export it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision.models

from secam_onnx.errors import ModelError, OptionError
from secam_onnx.export.pytorch import read_weights, to_onnx
from secam_onnx.export.source import Source
from secam_onnx.photograph.preprocessing import Preprocessing

__all__ = ["from_torchvision"]


def from_torchvision(name: str, weights: str = "DEFAULT", seed: int = 0) -> Source:
    """Build a classifier of torchvision and export it to ONNX.

    Parameters
    ----------
    name : str
        A name from `torchvision.models.list_models`: `resnet50`, `inception_v3`, `vgg16`, ...
    weights : str
        `DEFAULT` or another name of torchvision's (downloaded), a `.pth`, `.pt` or `.safetensors` file, or `none`.
    seed : int
        Seed of the random weights for `none`.

    Returns
    -------
    Source
        The model, with a dynamic batch axis. The weights determine the number of classes.

    Raises
    ------
    OptionError
        The network or the weights are unknown.
    ModelError
        The weights cannot be downloaded or read, or do not fit.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise OptionError(
            f"torchvision has no classifier {name!r}; it has {', '.join(known)}. Keras's networks "
            "need --source keras; files are named NAME.onnx or NAME.keras."
        )
    entries = torchvision.models.get_model_weights(name)
    settings = entries.DEFAULT
    if weights.lower() == "none":
        torch.manual_seed(seed)
        network = _build(name)
        origin = f"random, seed {seed}"
    elif Path(weights).suffix.lower() in (".pth", ".pt", ".safetensors"):
        state = read_weights(weights)
        network = _load(name, state, weights)
        origin = f"file {Path(weights).name}"
    elif weights in entries.__members__:
        settings = entries[weights]
        network = _download(name, settings)
        origin = f"{settings!s}, {settings.url}"
    else:
        raise OptionError(
            f"Unknown weights {weights!r} for {name}; give one of {', '.join(entries.__members__)}, a .pth or "
            ".safetensors file, or none."
        )
    preset = settings.transforms()
    preprocessing = Preprocessing(
        size=(preset.crop_size[0], preset.crop_size[0]),
        resize_to=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(255 * value for value in preset.mean),
        std=tuple(255 * value for value in preset.std),
    )
    model = to_onnx(network, preprocessing.size)
    categories = tuple(settings.meta["categories"])
    n_classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    return Source(
        model,
        preprocessing,
        categories if len(categories) == n_classes else None,
        {"source": f"torchvision {torchvision.__version__}", "network": name, "weights": origin},
    )


def _build(name: str, **options: Any) -> torch.nn.Module:
    if name in ("inception_v3", "googlenet"):
        # Their weights were trained on another normalisation, which torchvision switches on only with its own weights.
        options = {"transform_input": True, "init_weights": False, **options}
    return torchvision.models.get_model(name, weights=None, **options)


def _download(name: str, weights: Any) -> torch.nn.Module:
    try:
        return torchvision.models.get_model(name, weights=weights)
    except (URLError, OSError, RuntimeError) as error:
        raise ModelError(
            f"The weights of {name} cannot be downloaded from {weights.url} ({error}). Fetch that file on another "
            "machine and give its path with --weights, or use --weights none."
        ) from error


def _load(name: str, state: dict[str, torch.Tensor], where: str) -> torch.nn.Module:
    options: dict[str, Any] = {}
    if name in ("inception_v3", "googlenet"):
        options["aux_logits"] = any(key.lower().startswith("aux") for key in state)
    network = _build(name, **options)
    last = [key for key, module in network.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)][-1]
    weight = state.get(f"{last}.weight")
    if weight is not None and weight.shape[0] != network.get_submodule(last).weight.shape[0]:
        network = _build(name, num_classes=weight.shape[0], **options)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ModelError(
            f"The weights in {where} do not fit torchvision's {name}: {first[:300]}. "
            "Give the network that they were saved from; one with changed layers must be exported from your own code."
        ) from error
    return network
