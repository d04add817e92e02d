"""Write Triton's config.pbtxt for a fused model (`secam-onnx export --fused`), from the file's own inputs and outputs.

    python tools/triton_config.py fused.onnx > models/secam_fused/config.pbtxt

Triton's ONNX Runtime backend takes optional inputs only where it does not batch: without --max-batch-size requests may
give `classes`; with it they get the file's default classes, and those that arrive together share a run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import onnxruntime

_TYPES = {"float": "FP32", "float16": "FP16", "double": "FP64", "string": "STRING"}  # others have the same name


def config(model: str | Path, name: str, max_batch_size: int = 0) -> str:
    """The text of config.pbtxt.

    Parameters
    ----------
    model : path
        The fused file.
    name : str
        What Triton calls the model; its folder's name.
    max_batch_size : int
        Pictures in one run that Triton may put together; 0 for no batching by Triton.

    Raises
    ------
    ValueError
        Batches are wanted of a file whose batch size is fixed.
    """
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    required, outputs = session.get_inputs(), session.get_outputs()
    optional = session.get_overridable_initializers()
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {max_batch_size}"]
    if max_batch_size:
        fixed = [tensor for tensor in (*required, *outputs) if isinstance(tensor.shape[0], int)]
        if fixed:
            raise ValueError(
                f"{fixed[0].name!r} has the shape {fixed[0].shape}, so the file runs {fixed[0].shape[0]} at a time; "
                "leave --max-batch-size out."
            )
        lines.append("dynamic_batching { }")
        optional = []
    inputs = [_tensor(tensor, max_batch_size) for tensor in required]
    inputs += [_tensor(tensor, max_batch_size, " optional: true") for tensor in optional]
    for kind, entries in (("input", inputs), ("output", [_tensor(tensor, max_batch_size) for tensor in outputs])):
        lines += [f"{kind} [", ",\n".join(entries), "]"]
    return "\n".join(lines) + "\n"


def _tensor(tensor: Any, max_batch_size: int, more: str = "") -> str:
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    dims = [length if isinstance(length, int) else -1 for length in tensor.shape]
    if max_batch_size:
        dims = dims[1:]  # the batch goes without saying
    if not dims:  # Triton has no scalars
        dims, more = [1], f" reshape: {{ shape: [ ] }}{more}"
    shape = ", ".join(map(str, dims))
    return f'  {{ name: "{tensor.name}" data_type: TYPE_{_TYPES.get(kind, kind.upper())} dims: [ {shape} ]{more} }}'


def main() -> None:
    """Write the config to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", default="secam_fused", help="its folder in the model repository")
    parser.add_argument("--max-batch-size", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    try:
        print(config(arguments.model, arguments.name, arguments.max_batch_size), end="")
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
