"""The JSON files beside a model: where they are, and careful reading."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["find_beside", "read_object"]

_LARGEST = 16_000_000  # bytes; the class names of ImageNet-21k take 2 MB


def find_beside(model: str | os.PathLike[str], name: str) -> Path | None:
    """The file of that name in the model's folder; for `onnx/model.onnx` also in the folder above."""
    # The path as it is given: in Hugging Face's cache, models are links into another folder.
    folder = Path(model).absolute().parent
    folders = [folder, folder.parent] if folder.name == "onnx" else [folder]
    return next((file for file in (place / name for place in folders) if file.is_file()), None)


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError
        The file cannot be read, is too large, or holds no JSON object; the message is the reason alone.
    """
    try:
        size = file.stat().st_size
        if size > _LARGEST:
            raise ValueError(f"it has {size:,} bytes, and at most {_LARGEST:,} were expected")
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror or error})") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__} where a JSON object was expected")  # noqa: TRY004
    return data
