"""Opening an ordinary ONNX classifier or an explainable model."""

from __future__ import annotations

import os

from secam_onnx import runtime
from secam_onnx.classifier.analysis import analyse
from secam_onnx.classifier.explainable import reopen
from secam_onnx.classifier.fidelity import (
    Verify,
)
from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.classifier.sessions import open_sessions
from secam_onnx.classifier.trials import check_probabilities, reference_of
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.files import printable, unchanged
from secam_onnx.graph.checks.external_data import data_files
from secam_onnx.graph.checks.structure import damage_explained
from secam_onnx.graph.locate import model_file
from secam_onnx.graph.onnx_file import read_model
from secam_onnx.head_query import ANYTHING, HeadQuery
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings

__all__ = ["open_classifier"]


def open_classifier(
    path: str | os.PathLike[str],
    *,
    providers: runtime.Providers = "auto",
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    labels: tuple[str, ...] | None = None,
    query: HeadQuery = ANYTHING,
    activation: str | None = None,
    attribution: str | None = None,
    threads: int | None = None,
    verify: Verify = "auto",
) -> Classifier:
    """Open an ordinary ONNX classifier, which is made explainable in memory, or an explainable model.

    Parameters
    ----------
    path : path
        The ONNX file, or its folder.
    providers : str or sequence of str
        See `runtime.resolve_providers`.
    preprocessing, labels : optional
        Override what an ordinary file, or a file beside it, says; complete an explainable model that was exported
        without them.
    query : HeadQuery
        What to look for in an ordinary model.
    activation : str, optional
        What turns raw outputs into probabilities (see `choose_activation`).
    attribution : str, optional
        See `choose_attribution`.
    threads : int, optional
        Processor threads for one forward pass; all cores by default.
    verify : bool or 'auto'
        Whether to compare all outputs with those of the original file in plain ONNX Runtime: on three images (True),
        on none (False), or on one unless the weights exceed 1 GiB (`'auto'`). Explainable models were compared when
        they were exported, so `'auto'` does not compare them again.

    Raises
    ------
    ModelError
        The file cannot be read, is not a classifier that can be explained, or its outputs differ from ours.
    OptionError
        An option contradicts the file.
    ProviderError
        A provider that was named cannot start.
    """
    runtime.load()  # a missing wheel is reported before the slow part
    file = model_file(path)
    with unchanged(file):
        model = read_model(file)
        metadata = ModelMetadata.of(model)
        with damage_explained(model):
            ordinary = metadata is None
            if metadata is None:
                analysed = analyse(model, preprocessing, file=file, labels=labels, query=query, activation=activation)
            else:
                analysed = reopen(
                    model, metadata, file, preprocessing, labels=labels, query=query, activation=activation
                )
            # Before ours, so that two sessions of the whole network are never in memory together.
            reference = reference_of(file, analysed, verify, threads, ordinary=ordinary)
            data = data_files(model, file)
            opened = open_sessions(printable(file.name), analysed, providers, attribution, threads)
            opened.files = (file, *data)
            if reference is not None:
                opened.compare(reference)
            if ordinary:
                check_probabilities(opened, analysed.head.class_output, activation)
            return opened
