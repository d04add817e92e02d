"""Triton's config.pbtxt for a fused model in its ONNX Runtime backend, from the file's own inputs and outputs.

That backend takes optional inputs only if it does not batch: without batching a request may give `classes`; with it
requests get the classes that the file explains by default, and those that arrive together share a run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from secam_onnx.errors import OptionError
from secam_onnx.files import new_file
from secam_onnx.runtime import open_as_it_is

__all__ = ["triton_config", "triton_config_path", "write_triton_config"]

_TYPES = {"float": "FP32", "float16": "FP16", "double": "FP64", "string": "STRING"}  # others have the same name


def triton_config_path(model: str | os.PathLike[str]) -> Path:
    """Where a model's config.pbtxt belongs.

    For `REPOSITORY/NAME/1/model.onnx`, which is Triton's layout, that is `REPOSITORY/NAME`; otherwise beside the file.
    """
    folder = Path(model).absolute().parent
    return (folder.parent if folder.name.isdecimal() else folder) / "config.pbtxt"


def write_triton_config(model: str | os.PathLike[str], max_batch_size: int = 0) -> Path:
    """Write the config of a fused model to `triton_config_path`, replacing one that is there.

    Parameters
    ----------
    model : path
        The fused file.
    max_batch_size : int
        See `triton_config`.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    OptionError
        As `triton_config`.
    OutputError
        The file cannot be written.
    """
    path = triton_config_path(model)
    text = triton_config(model, max_batch_size)
    with new_file(path) as file:
        file.write_text(text, encoding="utf-8")
    return path


def triton_config(model: str | os.PathLike[str], max_batch_size: int = 0) -> str:
    """The text of config.pbtxt; Triton names the model as the folder that holds it.

    Parameters
    ----------
    model : path
        The fused file.
    max_batch_size : int
        How many pictures Triton may put together in one run; 0 for no batching by Triton.

    Raises
    ------
    OptionError
        `max_batch_size` is below 0, or above 0 for a file whose batch size is fixed.
    ModelError
        ONNX Runtime cannot open the file.
    """
    if max_batch_size < 0:
        raise OptionError(f"max_batch_size is {max_batch_size}; 0 or more was expected.")
    session = open_as_it_is(model)
    required, outputs = session.get_inputs(), session.get_outputs()
    optional = [] if max_batch_size else session.get_overridable_initializers()
    lines = ['backend: "onnxruntime"', f"max_batch_size: {max_batch_size}"]
    if max_batch_size:
        fixed = [tensor for tensor in (*required, *outputs) if isinstance(tensor.shape[0], int)]
        if fixed:
            raise OptionError(
                f"{fixed[0].name!r} has the shape {fixed[0].shape}, so the file runs {fixed[0].shape[0]} at a time and "
                "Triton cannot batch; leave the maximal batch size out."
            )
        lines.append("dynamic_batching { }")
    inputs = [_tensor(tensor, max_batch_size) for tensor in required]
    inputs += [_tensor(tensor, max_batch_size, " optional: true") for tensor in optional]
    for kind, entries in (("input", inputs), ("output", [_tensor(tensor, max_batch_size) for tensor in outputs])):
        lines += [f"{kind} [", ",\n".join(entries), "]"]
    return "\n".join(lines) + "\n"


def _tensor(tensor: Any, max_batch_size: int, more: str = "") -> str:
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    dims = [length if isinstance(length, int) else -1 for length in tensor.shape]
    if max_batch_size:
        dims = dims[1:]  # Triton adds the batch axis itself
    if not dims:  # Triton has no scalars
        dims, more = [1], f" reshape: {{ shape: [ ] }}{more}"
    shape = ", ".join(map(str, dims))
    return f'  {{ name: "{tensor.name}" data_type: TYPE_{_TYPES.get(kind, kind.upper())} dims: [ {shape} ]{more} }}'
