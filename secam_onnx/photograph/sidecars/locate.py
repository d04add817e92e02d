"""Where a model and the files beside it lie, and careful reading of their JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from secam_onnx.errors import ModelError
from secam_onnx.graph.checks.foreign import foreign_folder

__all__ = ["beside", "default_model", "model_file", "read_object"]

_DEFAULT_MODEL = "efficientnet-lite0.onnx"

_LIMIT = 16_000_000  # bytes; the class names of ImageNet-21k take 2 MB


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
        raise ModelError(f"{str(path)[:80]!r} is no path of a model ({error}); give that of an .onnx file.") from error
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


def default_model() -> Path:
    """The model inside the package: EfficientNet-Lite0, ImageNet-1k."""
    package = Path(__file__).parents[2]
    # The wheel carries it inside the package; in a checkout it lies beside it.
    inside, beside = (folder / "models" / _DEFAULT_MODEL for folder in (package, package.parent))
    return beside if beside.exists() else inside


def beside(model: str | os.PathLike[str], name: str) -> Path | None:
    """The file of that name in the model's folder; for `onnx/model.onnx` also in the folder above."""
    # The path as it is given: in Hugging Face's cache the models are links into another folder.
    folder = Path(model).absolute().parent
    folders = [folder, folder.parent] if folder.name == "onnx" else [folder]
    return next((file for file in (place / name for place in folders) if file.is_file()), None)


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError
        It cannot be read, is too large, or is no JSON object; the message is the reason alone.
    """
    try:
        size = file.stat().st_size
        if size > _LIMIT:
            raise ValueError(f"it has {size:,} bytes, and at most {_LIMIT:,} were expected")
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror or error})") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"it holds no JSON object but a {type(data).__name__}")  # noqa: TRY004
    return data
