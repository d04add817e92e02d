"""An explanation as files: pictures, JSON and arrays in a folder that appears whole."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from secam_onnx.errors import OutputError
from secam_onnx.explanation import overlays
from secam_onnx.files import new_folder, output_errors

if TYPE_CHECKING:
    from secam_onnx.explanation.result import Explanation, Prediction

__all__ = ["ARRAYS", "MANIFEST", "save_explanation"]

MANIFEST = "explanation.json"
ARRAYS = "arrays.npz"


def save_explanation(
    explanation: Explanation,
    folder: str | os.PathLike[str],
    pictures: int | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write everything; see `Explanation.save`. `notes`, JSON types, go into the JSON as well."""
    target = Path(folder)
    if "\0" in str(target):
        raise OutputError(f"The folder's name, {str(target)!r}, holds a null character; choose another one.")
    if target.absolute() == Path.cwd():
        raise OutputError(f"{target.absolute()} is the current folder, which is not replaced; name a folder in it.")
    _check_replaceable(target)
    best = sorted(explanation.classes, key=lambda entry: -entry.logit)[:pictures]
    with new_folder(target) as temporary:
        files = [ARRAYS]
        for entry in best:
            files += _save_pictures(explanation, entry, temporary)
        buffer = io.BytesIO()  # on a full disk, zipfile would complain once more when it is thrown away
        np.savez_compressed(buffer, **_arrays(explanation))
        (temporary / ARRAYS).write_bytes(buffer.getvalue())
        report = {**(notes or {}), **explanation.to_dict(), "files": sorted(files)}
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
        (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return target


def _arrays(explanation: Explanation) -> dict[str, Any]:
    geometry = explanation.geometry
    arrays = {
        "class_ids": np.array([entry.index for entry in explanation.classes], dtype=np.int64),
        "class_logits": np.array([entry.logit for entry in explanation.classes], dtype=np.float32),
        "cam": explanation.cam,
        "segments": explanation.segments,
        "segment_scores": explanation.segment_scores,
        "segment_contributions": explanation.segment_contributions,
        "bias": explanation.bias,
        "image_size": np.array(geometry.image_size),
        "input_size": np.array(geometry.input_size),
        "box": np.array(geometry.box),
    }
    if explanation.given_labels is not None:
        arrays["given_labels"] = np.ma.getdata(explanation.given_labels)
    return arrays


def _save_pictures(explanation: Explanation, entry: Prediction, folder: Path) -> list[str]:
    name = re.sub(r"[^\w-]+", "_", entry.label, flags=re.ASCII).strip("_")[:40]
    stem = f"{entry.index:04d}-{name}" if name else f"{entry.index:04d}"
    pictures = {"panel": explanation.panel(entry.index)}
    pictures |= {kind: explanation.overlay(entry.index, kind=kind) for kind in overlays.KINDS}
    for kind, picture in pictures.items():
        picture.save(folder / f"{stem}-{kind}.png", compress_level=1)  # a third of the time, a tenth larger
    return [f"{stem}-{kind}.png" for kind in pictures]


def _check_replaceable(folder: Path) -> None:
    """Only what an earlier explanation wrote may be replaced."""
    with output_errors(folder):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
    try:
        known = {MANIFEST, *json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]}
        if {file.name for file in folder.iterdir()} <= known:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise OutputError(
        f"{folder} exists and holds something else than an earlier explanation; choose another output folder."
    )
