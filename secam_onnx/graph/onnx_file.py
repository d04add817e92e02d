"""Reading and writing ONNX files, with errors that say what to do and without half-written files."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data, write_external_data_tensors

from secam_onnx.errors import ModelError, OutputError
from secam_onnx.files import new_file, output_errors, regular_file
from secam_onnx.graph.checks.external_data import check_external_data, read_attributes
from secam_onnx.graph.checks.foreign import foreign_file
from secam_onnx.graph.checks.functions import inline_functions
from secam_onnx.graph.checks.operators import check_operators
from secam_onnx.graph.checks.order import put_in_order
from secam_onnx.graph.checks.size import check_size
from secam_onnx.graph.checks.structure import check_structure
from secam_onnx.graph.weights_in_place import read_without_weights

__all__ = [
    "EXTERNAL_DATA_LIMIT",
    "check_writable",
    "has_external_data",
    "read_model",
    "weight_bytes",
    "weights_moved_out",
    "write_model",
]

EXTERNAL_DATA_LIMIT = 2_000_000_000
"""Size in bytes above which weights go into a file of their own; protobuf allows 2 GiB."""

_LARGEST = (1 << 31) - 1  # bytes; the limit of protobuf


def read_model(path: str | os.PathLike[str], *, weights: bool = False) -> ModelProto:
    """Read an ONNX file.

    Parameters
    ----------
    path : path
        The file.
    weights : bool
        Whether to read external data into the model, too.

    Raises
    ------
    ModelError
        The file is missing, empty, truncated, damaged or no ONNX file, or its external data lie outside its folder or
        cannot be read.
    """
    file = Path(path)
    try:
        size = regular_file(file).st_size
        if size == 0:
            raise ModelError(f"{file} is empty; an ONNX model was expected.")
        if size > _LARGEST:
            known = foreign_file(file)
            raise ModelError(known or f"{file} has {size} bytes; at most 2 GiB were expected, and weights beside it.")
        model = onnx.load(file, format="protobuf", load_external_data=False) if weights else read_without_weights(file)
    except FileNotFoundError:
        raise ModelError(f"{file} does not exist; give the path of an .onnx file.") from None
    except OSError as error:
        raise ModelError(
            f"{file} cannot be read: {error.strerror or error}. Check its path and permissions."
        ) from error
    except DecodeError as error:
        known = foreign_file(file)
        raise ModelError(
            known or f"{file} is not an ONNX model, or it was cut off ({error}). Download or export it again."
        ) from error
    if not model.HasField("graph") or not model.graph.node:
        known = foreign_file(file)
        raise ModelError(
            known or f"{file} holds no ONNX graph; an image classifier in ONNX format was expected. Export it again."
        )
    check_size(model)
    check_external_data(model, file)
    read_attributes(model, file.parent)
    model = inline_functions(model)
    put_in_order(model.graph)
    check_structure(model)
    check_operators(model)
    if weights and has_external_data(model):
        try:
            onnx.load_external_data_for_model(model, str(file.parent))
        except Exception as error:
            raise ModelError(
                f"{file}: its external data cannot be read: {error}. Put the data files beside the model, "
                "under the names that they were exported with."
            ) from error
    return model


def has_external_data(model: ModelProto) -> bool:
    """Whether some weights live in a file of their own."""
    return any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer)


@contextlib.contextmanager
def weights_moved_out(model: ModelProto, path: str | os.PathLike[str]) -> Iterator[None]:
    """Make a model of any size serialisable, in place, so that the block can write it to `path`.

    Above `EXTERNAL_DATA_LIMIT` the weights go into a new file `NAME.HASH.data` beside `path`. If no model at `path`
    refers to that file at the end of the block, it is deleted.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full.
    """
    if weight_bytes(model) < EXTERNAL_DATA_LIMIT:
        yield
        return
    target = Path(path).resolve()
    data = target.with_name(f"{target.name}.{secrets.token_hex(4)}.data")
    try:
        with output_errors(data):
            convert_model_to_external_data(model, location=data.name)
            data.touch()  # with the usual permissions; onnx would make it readable by its owner alone
            write_external_data_tensors(model, str(target.parent))
        yield
    finally:
        if data not in _data_files(target):
            data.unlink(missing_ok=True)


def weight_bytes(model: ModelProto) -> int:
    """Bytes of the weights in the model itself; above 2 GiB, protobuf cannot tell its own size."""
    inside = (tensor for tensor in model.graph.initializer if tensor.data_location != TensorProto.EXTERNAL)
    return sum(math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize for tensor in inside)


def write_model(model: ModelProto, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write an ONNX file in one step: at any moment, `path` is the whole old model or the whole new one.

    Parameters
    ----------
    model : ModelProto
        A model that can be serialised (see `weights_moved_out`).
    path : path
        The file to write. Data files that `weights_moved_out` made for an earlier model there are deleted.
    overwrite : bool
        Whether to replace an existing file.

    Raises
    ------
    OutputError
        The file exists and `overwrite` is false, the folder is missing or read-only, or the disk is full.
    """
    target = Path(path).resolve()
    check_writable(target, overwrite=overwrite)
    stale = _data_files(target)
    with new_file(target) as temporary:
        temporary.write_bytes(model.SerializeToString())
    for old in stale:
        with contextlib.suppress(OSError):  # Windows keeps files that another program has open
            old.unlink()


def check_writable(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Raise early, before minutes of work, if a model cannot be written to `path`.

    Raises
    ------
    OutputError
        As `write_model`.
    """
    target = Path(path)
    with output_errors(target):
        if target.is_dir():
            raise OutputError(f"{target} is a folder; give the name of an .onnx file.")
        if target.exists() and not overwrite:
            raise OutputError(f"{target} exists already; use --force (overwrite=True) or choose another name.")
        if not target.parent.is_dir():
            raise OutputError(f"Cannot write {target}: the folder {target.parent} does not exist; create it first.")
        if not os.access(target.parent, os.W_OK):
            raise OutputError(f"Cannot write {target}: the folder {target.parent} is read-only; choose another place.")


def _data_files(target: Path) -> list[Path]:
    """The data files that `weights_moved_out` made for the model at `target`."""
    try:
        beside = {file.name for file in target.parent.iterdir()}
        ours = {name for name in beside if name.startswith(f"{target.name}.") and name.endswith(".data")}
        if not ours:  # the usual case; saves reading a model of half a gigabyte
            return []
        model = onnx.load(target, format="protobuf", load_external_data=False)
    except (OSError, DecodeError):
        return []
    named = {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    return [target.with_name(name) for name in ours & named]
