"""The settings of a run, which must be the same when it is resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from secam_onnx.errors import ModelError, OptionError
from secam_onnx.explainer import Explainer
from secam_onnx.files import sha256
from secam_onnx.labels.queries import ClassQuery

__all__ = ["check_same_settings", "run_settings", "settings_digest"]

_FREE = ("providers", "map_size")  # may differ, as another machine may resume the run


def run_settings(explainer: Explainer, classes: Sequence[ClassQuery], **others: object) -> dict[str, Any]:
    """Collect what the results of a run depend on, as plain JSON types.

    Parameters
    ----------
    explainer : Explainer
        Model, superpixels, selection, preprocessing.
    classes : sequence of int or str
        The classes, as they were asked for.
    others
        Other settings that change the results.

    Raises
    ------
    ModelError
        The model's file was removed meanwhile.
    """
    try:
        digest = sha256(explainer.model)
    except OSError as error:
        raise ModelError(f"{explainer.model} cannot be read any more: {error.strerror}; put it back.") from error
    labels = None
    if explainer.labels is not None:
        labels = hashlib.sha256("\n".join(explainer.labels).encode()).hexdigest()
    return {
        **explainer.settings,
        "model_sha256": digest,
        "labels_sha256": labels,
        "classes": [query if isinstance(query, str) else f"index:{query}" for query in classes],
        **others,
    }


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Hash settings to a short text."""
    fixed = {name: value for name, value in settings.items() if name not in _FREE}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:16]


def check_same_settings(where: Path, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to mix results of different settings.

    Parameters
    ----------
    where : Path
        The folder of the earlier run.
    known, wanted : mapping
        The settings of the earlier run, and of this one.

    Raises
    ------
    OptionError
        The settings differ.
    """
    names = (name for name in {**known, **wanted} if name not in _FREE)
    different = [name for name in names if known.get(name) != wanted.get(name)]
    if different:
        changes = "; ".join(f"{name}: {known.get(name)} before, {wanted.get(name)} now" for name in different)
        raise OptionError(
            f"{where} was begun with other settings ({changes}). Resume with the same settings, or choose another "
            "folder with -o."
        )
