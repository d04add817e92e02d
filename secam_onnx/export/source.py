"""A source: a plain ONNX classifier to export, and what is known about it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto

from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.errors import ModelError
from secam_onnx.files import printable
from secam_onnx.graph.locate import model_file
from secam_onnx.graph.onnx_file import read_model
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings

__all__ = ["Source", "from_onnx"]


@dataclass(frozen=True)
class Source:
    """A plain ONNX classifier and what is known about it.

    Attributes
    ----------
    model : ModelProto
        The model, with its weights in memory.
    preprocessing : Preprocessing, PreprocessingSettings, str or None
        The preprocessing, single settings of it, or the name of a preset; None if unknown.
    labels : tuple of str or None
        Class names; None if unknown.
    origin : dict
        Where the model came from, for the metadata.
    file : Path or None
        The file that it is a whole copy of, whose outputs it has to reproduce; None if it was made in memory.
    sidecars : Path or None
        The file beside which to look for preprocessing and class names; None for nowhere.
    logits : str or None
        The output to explain, where that is known.
    """

    model: ModelProto
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None
    labels: tuple[str, ...] | None = None
    origin: dict[str, str] = field(default_factory=dict)
    file: Path | None = None
    sidecars: Path | None = None
    logits: str | None = None


def from_onnx(path: str | os.PathLike[str]) -> Source:
    """Read an ONNX classifier; an explainable model keeps its preprocessing, class names and origin.

    Raises
    ------
    ModelError
        The file cannot be read, or is a fused model.
    """
    file = model_file(path)
    model = read_model(file, weights=True)
    metadata = ModelMetadata.of(model)
    if metadata is not None and metadata.fused is not None:
        raise ModelError(f"{file} is a fused model; export the model that it was made from.")
    origin = {"source": "onnx", "file": printable(file.name)}
    if metadata is None:
        return Source(model, origin=origin, file=file, sidecars=file)
    return Source(model, metadata.preprocessing, metadata.labels, {**metadata.origin}, file)
