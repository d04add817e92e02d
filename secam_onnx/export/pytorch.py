"""Export PyTorch modules to ONNX, and read weights safely."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxscript  # noqa: F401  (torch.onnx needs it; imported here to fail before the work begins)
import torch
from onnx import ModelProto

from secam_onnx.errors import ModelError
from secam_onnx.export.notes import strip_notes

__all__ = ["read_weights", "to_onnx"]

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts keep the weights
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


def to_onnx(network: torch.nn.Module, size: tuple[int, int]) -> ModelProto:
    """Export a PyTorch classifier with a dynamic batch axis.

    Parameters
    ----------
    network : Module
        Maps `(N, 3, H, W)` float32 to `(N, classes)`.
    size : (int, int)
        Height and width of its input.

    Returns
    -------
    ModelProto
        Has the input `image` and the output `logits`, and no notes of the exporter, which hold paths of this machine.
    """
    network.eval()
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, *size),),
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None
    model: ModelProto = program.model_proto
    strip_notes(model)
    return model


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a state dict without running code from the file.

    Parameters
    ----------
    path : path
        A `.safetensors` file, or one of `torch.save`: a state dict, on its own or in a training checkpoint, with or
        without the name prefixes of DataParallel and torch.compile.

    Raises
    ------
    ModelError
        The file is missing, damaged, or holds more than weights.
    """
    file = Path(path)
    try:
        if file.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{file} does not exist; give the path of a .pth or .safetensors file.") from None
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{file} holds more than weights, or is damaged. It is not loaded, as unpickling it could run code; save "
            "only model.state_dict()."
        ) from error
    except Exception as error:
        raise ModelError(
            f"{file} cannot be read as weights ({type(error).__name__}: {error}). Save model.state_dict() again."
        ) from error
    for key in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{file} holds no state dict (names and tensors); save model.state_dict().")
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)
