"""What the files beside a model say about its preprocessing, its class names and its probabilities.

Hugging Face's `config.json` and `preprocessor_config.json`, timm's `config.json`, and OTX's `label_schema.json`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from secam_onnx.errors import ModelError
from secam_onnx.labels.objects import timm_names, transformers_names
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.photograph.sidecars import huggingface, openvino, timm
from secam_onnx.photograph.sidecars.json_files import find_beside, read_object

__all__ = ["activation_beside", "label_sources", "preprocessing_beside"]

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"


def preprocessing_beside(model: str | os.PathLike[str]) -> tuple[PreprocessingSettings | None, str]:
    """The preprocessing that files beside a model ask for.

    Parameters
    ----------
    model : path
        The ONNX file.

    Returns
    -------
    settings : PreprocessingSettings or None
        None if no file states one.
    note : str
        Which files are not used, and why; empty if there are none.

    Raises
    ------
    ModelError
        A file asks for something that cannot be done exactly, or a `preprocessor_config.json` is damaged.
    """
    notes = []
    processor, config = find_beside(model, PROCESSOR), find_beside(model, CONFIG)
    if processor is not None:
        with _complaint(processor):
            data = read_object(processor)
            if huggingface.is_image_processor(data):
                return huggingface.settings(data, f"read from {PROCESSOR}"), ""
        notes.append(f"{PROCESSOR} beside it is not that of an image processor")
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
    """What turns raw outputs into probabilities, by the `problem_type` in a `config.json` beside a model.

    Parameters
    ----------
    model : path
        The ONNX file.

    Returns
    -------
    activation, note : str
        'softmax', 'sigmoid' or 'none', and where that was read; None if nothing is stated.
    """
    file = find_beside(model, CONFIG)
    try:
        told = None if file is None else read_object(file).get("problem_type")
    except ValueError:  # the reason is given where preprocessing and names are read
        return None
    activation = huggingface.ACTIVATIONS.get(told) if isinstance(told, str) else None
    return None if activation is None else (activation, f"{activation}, by the problem_type in {CONFIG}: {told}")


def label_sources(model: str | os.PathLike[str]) -> Iterator[tuple[str, Callable[[], tuple[str, ...]]]]:
    """The files beside a model that may hold class names: the name of each, and a call that reads it.

    The call raises ValueError where the file holds none.
    """
    for name, names_of in ((CONFIG, _labels_of_config), (openvino.SCHEMA, openvino.labels)):
        file = find_beside(model, name)
        if file is not None:
            yield name, partial(_read, file, names_of)


def _read(file: Path, names_of: Callable[[Mapping[str, Any]], tuple[str, ...]]) -> tuple[str, ...]:
    return names_of(read_object(file))


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
