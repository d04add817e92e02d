"""The JSON files beside a model: where they are, and careful reading."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from secam_onnx.files import read_regular, regular_file
from secam_onnx.schema import LIMITS, parse_json

__all__ = ["find_beside", "read_object"]


def find_beside(model: str | os.PathLike[str], name: str) -> Path | None:
    """The file of that name in the model's folder; for `onnx/model.onnx` also in the folder above."""
    # The path as it is given: in Hugging Face's cache, models are links into another folder.
    folder = Path(model).absolute().parent
    folders = [folder, folder.parent] if folder.name == "onnx" else [folder]
    return next((file for file in (place / name for place in folders) if _is_there(file)), None)


def _is_there(file: Path) -> bool:
    try:
        regular_file(file)
    except OSError:
        return False
    return True


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError
        The file cannot be read, is too large, or holds no JSON object; the message is the reason alone.
    """
    try:
        data = parse_json(read_regular(file, LIMITS.size).decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__} where a JSON object was expected")  # noqa: TRY004
    return data
