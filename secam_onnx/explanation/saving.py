"""The folder of an explanation: pictures, JSON and arrays that appear together or not at all."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from secam_onnx.errors import OutputError
from secam_onnx.explanation.prediction import Prediction
from secam_onnx.files import new_folder, output_errors
from secam_onnx.shown_text import shown_json

__all__ = ["ARRAYS", "MANIFEST", "picture_stem", "save_folder"]

MANIFEST = "explanation.json"
ARRAYS = "arrays.npz"
_OURS = re.compile(r"explanation\.json|arrays\.npz|\d{4,}(-[A-Za-z0-9_-]+)?-(panel|superpixels|heatmap|cam)\.png")


def save_folder(
    folder: str | os.PathLike[str],
    report: Mapping[str, Any],
    arrays: Mapping[str, Any],
    pictures: Iterable[tuple[str, Image.Image]],
) -> Path:
    """Write a folder that appears whole; an earlier explanation at its place is replaced.

    Parameters
    ----------
    folder : path
        Where to write.
    report : mapping
        What `explanation.json` says, as JSON types; the names of all files are added to it.
    arrays : mapping
        What `arrays.npz` holds.
    pictures : iterable of (str, Image)
        File names without ending, and pictures. They are drawn and written one at a time.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    OutputError
        The folder holds other files, cannot be written, or the disk is full.
    """
    target = Path(folder)
    if "\0" in str(target):
        raise OutputError(f"The folder's name, {str(target)!r}, contains a null character; choose another name.")
    with output_errors(target):
        if _is_current(target):
            raise OutputError(
                f"{target.absolute()} is the current folder and cannot be replaced; name a folder inside it."
            )
        _check_replaceable(target)
    with new_folder(target) as temporary:
        files = [ARRAYS]
        for name, picture in pictures:
            picture.save(temporary / f"{name}.png", compress_level=1)  # a third of the time, a tenth larger
            files.append(f"{name}.png")
        buffer = io.BytesIO()  # on a full disk, zipfile would raise a second error when it is closed
        np.savez_compressed(buffer, **arrays)
        (temporary / ARRAYS).write_bytes(buffer.getvalue())
        text = json.dumps({**report, "files": sorted(files)}, indent=1, ensure_ascii=False, allow_nan=False)
        (temporary / MANIFEST).write_bytes((shown_json(text) + "\n").encode())  # half a surrogate pair is an escape
    return target


def picture_stem(entry: Prediction) -> str:
    """The beginning of a class's file names: its index, and its name as far as every file system can spell it."""
    name = re.sub(r"[^\w-]+", "_", entry.label, flags=re.ASCII).strip("_")[:40]
    return f"{entry.index:04d}-{name}" if name else f"{entry.index:04d}"


def _is_current(folder: Path) -> bool:
    try:
        return folder.absolute() == Path.cwd()
    except FileNotFoundError:  # the current folder was removed
        return False


def _check_replaceable(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier explanation."""
    if not folder.exists():
        return
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else {""}
    if not names:
        return
    # Not by what the manifest says: a power failure may have left it empty.
    if MANIFEST in names and all(_OURS.fullmatch(name) for name in names):
        return
    raise OutputError(
        f"{folder} exists and holds something other than an earlier explanation; choose another output folder."
    )
