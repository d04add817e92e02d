"""Files of external data, which are checked before anything is read from them.

A model is a stranger's file. The files that it names must be in its own folder, be no links, and be long enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import load_external_data_for_tensor

from secam_onnx.errors import ModelError
from secam_onnx.files import open_regular, printable
from secam_onnx.graph.checks.tensors import tensor_bytes

__all__ = ["check_external_data", "data_files", "location_of", "read_attributes", "read_external_data", "tensors_of"]

_ALIGNMENT = 64  # bytes; a cache line and the widest vector


def tensors_of(model: ModelProto) -> Iterator[tuple[TensorProto, bool]]:
    """All dense tensors of a model; with each, whether it is an initializer of the main graph."""
    yield from ((tensor, True) for tensor in model.graph.initializer)
    todo: list[NodeProto] = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while todo:
        for attribute in todo.pop().attribute:
            graphs: list[GraphProto] = [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
            yield from ((tensor, False) for tensor in _own(attribute))
            for graph in graphs:
                yield from ((tensor, False) for tensor in graph.initializer)
                todo += graph.node


def _own(attribute: AttributeProto) -> list[TensorProto]:
    return [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]


def check_external_data(model: ModelProto, file: Path) -> None:
    """Check the files that a model names, without reading them.

    Parameters
    ----------
    model : ModelProto
        The model, without its external data.
    file : Path
        The file of the model, which may be a link and may itself hold the data.

    Raises
    ------
    ModelError
        A file lies outside the folder, is missing, is a link, or is too short.
    """
    for tensor, _ in tensors_of(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            _check(tensor, file)


def data_files(model: ModelProto, file: Path) -> tuple[Path, ...]:
    """The files that hold external weights of a model; the file of the model may be one of them."""
    external = (tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL)
    return tuple(sorted({file.parent / location_of(tensor) for tensor in external}))


def read_attributes(model: ModelProto, folder: Path) -> None:
    """Read the external data of all tensors but the main graph's initializers into the model, in place.

    Raises
    ------
    ModelError
        The data cannot be read.
    """
    for tensor, initializer in tensors_of(model):
        if tensor.data_location == TensorProto.EXTERNAL and not initializer:
            try:
                load_external_data_for_tensor(tensor, str(folder))
            except Exception as error:
                raise ModelError(
                    f"The data of {tensor.name!r} cannot be read: {error}. Put the model's data file beside it."
                ) from error
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]


def read_external_data(tensor: TensorProto, folder: Path) -> np.ndarray:
    """The numbers of a checked tensor as bytes, aligned as ONNX Runtime computes fastest.

    Raises
    ------
    ModelError
        The file has become too short, or declares more bytes than the shape of the tensor takes.
    OSError
        The file cannot be read.
    """
    entries = _entries(tensor)
    wanted = tensor_bytes(tensor)
    offset, length = _number(tensor, entries, "offset", 0), _number(tensor, entries, "length", wanted)
    location = location_of(tensor)
    room = np.empty(wanted + _ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    data = room[start : start + wanted]
    with open_regular(folder / location) as file:
        file.seek(offset)
        found = file.readinto(data.data)
    if not found == wanted == length:
        raise ModelError(
            f"The tensor {tensor.name!r} of shape {list(tensor.dims)} takes {wanted} bytes, but {length} bytes are "
            f"declared in {printable(location)!r}, and {found} were read. Download or export both again."
        )
    return data


def location_of(tensor: TensorProto) -> str:
    """The file of a tensor's data, as the model names it; empty if it names none."""
    return _entries(tensor).get("location", "")


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _check(tensor: TensorProto, model_file: Path) -> None:
    folder, entries, location = model_file.parent, _entries(tensor), location_of(tensor)
    if not location or "\0" in location:
        raise ModelError(
            f"The model is damaged: the data of {tensor.name!r} are in another file, but no location says in which. "
            "Download or export it again."
        )
    file = folder / location
    what = f"The model wants the data of {tensor.name!r} from {printable(location)!r}"
    parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
    if PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive or ".." in parts:
        raise ModelError(
            f"{what}, which is outside its own folder; that is refused. A path below the model's folder was "
            "expected: put the file there and export the model again."
        )
    itself = location == model_file.name
    steps = [folder.joinpath(*PurePosixPath(location).parts[: end + 1]) for end in range(len(Path(location).parts))]
    if not itself and any(step.is_symlink() for step in steps):
        raise ModelError(
            f"{what}, which is a link, or in a folder that is one; that is refused. Put the file itself beside the "
            "model."
        )
    if not file.exists():
        raise ModelError(
            f"{what}, which does not exist in {printable(str(folder))}; download that file, too, and put it beside "
            "the model."
        )
    if not file.is_file():
        raise ModelError(f"{what}, which is not a file; download the file of that name and put it beside the model.")
    wanted = tensor_bytes(tensor)
    offset, length = (_number(tensor, entries, key, default) for key, default in (("offset", 0), ("length", wanted)))
    size = file.stat().st_size
    if length < wanted or offset + wanted > size:
        raise ModelError(
            f"{what}: {wanted} bytes from byte {offset} on, but "
            f"{f'only {length} bytes are declared' if length < wanted else f'that file has {size} bytes'}. It was cut "
            "off, or belongs to another model; download or export both again."
        )


def _number(tensor: TensorProto, entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, "") or str(default)
    if not text.isascii() or not text.isdigit() or len(text) > int(math.log10(2**63)) + 1:
        raise ModelError(
            f"The model is damaged: the {key} of the data of {tensor.name!r} is {text!r}; a whole number was expected. "
            "Download or export it again."
        )
    return int(text)
