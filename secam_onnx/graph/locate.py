"""Where a model lies: a path, or a folder that holds one."""

from __future__ import annotations

import os
from pathlib import Path

from secam_onnx.errors import ModelError
from secam_onnx.graph.checks.foreign import foreign_folder

__all__ = ["model_file"]


def model_file(path: str | os.PathLike[str]) -> Path:
    """The ONNX file that a path means: itself, or for a folder `model.onnx`, `onnx/model.onnx` or its only one.

    Raises
    ------
    ModelError
        A folder with no ONNX file, or with several of other names.
    """
    given = Path(path)
    try:
        if not given.is_dir() and "\0" not in str(given):
            return given
        given.stat()
    except (OSError, ValueError) as error:  # too long, with a null character, or a folder that may not be looked into
        raise ModelError(
            f"{str(path)[:80]!r} is not the path of a model ({error}); give that of an .onnx file."
        ) from error
    for usual in (given / "model.onnx", given / "onnx" / "model.onnx"):  # the second is where optimum writes
        if usual.is_file():
            return usual
    found = sorted(file for file in given.iterdir() if file.suffix.lower() == ".onnx" and file.is_file())
    if not found:
        raise ModelError(foreign_folder(given) or f"The folder {given} holds no .onnx file; give the path of a model.")
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:10]) + (", ..." if len(found) > 10 else "")
        raise ModelError(f"The folder {given} holds {len(found)} models ({names}); give the path of one.")
    return found[0]
