"""What a model's file and the files beside it say: how photographs become its input, what its classes are called.

Beside it: Hugging Face's `config.json` and `preprocessor_config.json`, timm's `config.json`, OTX's `label_schema.json`.
Inside: `metadata_props`, see `inside`; they come as a mapping, no ONNX is read here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from secam_onnx.errors import ModelError
from secam_onnx.labels import timm_names, transformers_names
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.photograph.sidecars import huggingface, openvino, timm
from secam_onnx.photograph.sidecars.locate import beside, default_model, model_file, read_object
from secam_onnx.photograph.sidecars.metadata_props import labels_inside, preprocessing_inside

__all__ = [
    "activation_beside",
    "default_model",
    "labels_beside",
    "labels_inside",
    "model_file",
    "preprocessing_beside",
    "preprocessing_inside",
]

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"


def preprocessing_beside(model: str | os.PathLike[str]) -> tuple[PreprocessingSettings | None, str]:
    """The preprocessing that the files beside a model ask for.

    Parameters
    ----------
    model : path
        The ONNX file.

    Returns
    -------
    settings : PreprocessingSettings or None
        None if there are no such files.
    note : str
        What lies there and is not used, and why; empty if there is nothing of the kind.

    Raises
    ------
    ModelError
        They ask for something that cannot be done exactly, or a `preprocessor_config.json` is damaged.
    """
    notes = []
    processor, config = beside(model, PROCESSOR), beside(model, CONFIG)
    if processor is not None:
        with _complaint(processor):
            data = read_object(processor)
            if huggingface.is_image_processor(data):
                return huggingface.settings(data, f"read from {PROCESSOR}"), ""
        notes.append(f"{PROCESSOR} beside it is of no image processor")
    if config is not None:
        try:
            data = read_object(config)
        except ValueError as error:
            notes.append(f"{CONFIG} beside it is not used: {error}")
        else:
            if timm.is_config(data):
                with _complaint(config):
                    return timm.settings(data, f"read from {CONFIG}"), ""
    return None, "; ".join(notes)


def activation_beside(model: str | os.PathLike[str]) -> tuple[str, str] | None:
    """What makes probabilities of raw outputs, by the `problem_type` in the `config.json` beside a model, and a note.

    Parameters
    ----------
    model : path
        The ONNX file.

    Returns
    -------
    activation, note : str
        'softmax', 'sigmoid' or 'none', and where that was read; None if nothing is said.
    """
    file = beside(model, CONFIG)
    try:
        told = None if file is None else read_object(file).get("problem_type")
    except ValueError:  # which is said where preprocessing and names are read
        return None
    activation = huggingface.ACTIVATIONS.get(told) if isinstance(told, str) else None
    return None if activation is None else (activation, f"{activation}, by the problem_type in {CONFIG}: {told}")


def labels_beside(model: str | os.PathLike[str], n_classes: int | None) -> tuple[tuple[str, ...] | None, str]:
    """The class names that the `config.json` or the `label_schema.json` beside a model gives.

    Names that do not fit are not used, since that file may be another model's or another program's.

    Parameters
    ----------
    model : path
        The ONNX file.
    n_classes : int or None
        Number of classes of the model; None if the run decides.

    Returns
    -------
    labels : tuple of str or None
        None if there is no such file, or it is not used.
    note : str
        Where they come from, or why they are not used; empty if there is no such file.
    """
    notes = []
    for name, read in ((CONFIG, _labels_of_config), (openvino.SCHEMA, openvino.labels)):
        file = beside(model, name)
        if file is None:
            continue
        try:
            labels = read(read_object(file))
        except ValueError as error:
            notes.append(f"none in {name}: {error}")
        else:
            if n_classes in (None, len(labels)):
                return labels, f"read from {name}"
            notes.append(f"none in {name}: it names {len(labels)} classes, and the model has {n_classes}")
    return None, "; ".join(notes)


def _labels_of_config(data: Mapping[str, Any]) -> tuple[str, ...]:
    return timm_names(data) if timm.is_config(data) else transformers_names(data)


@contextlib.contextmanager
def _complaint(file: Path) -> Iterator[None]:
    """Turn a ValueError about a file into an error that says what to do."""
    try:
        yield
    except ValueError as error:
        raise ModelError(
            f"{file} says how photographs become the model's input, but {error}. Correct it, or give --preprocess "
            "(preprocessing in Python), which takes its place."
        ) from error
