"""Opening an explainable model: its head found again, its metadata held against it and completed from options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from secam_onnx.classifier.analysis import AnalysedModel
from secam_onnx.classifier.class_names import check_labels
from secam_onnx.classifier.head_search import locate_head
from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.classifier.metadata_and_graph import check_names, corrected
from secam_onnx.classifier.output_activation import choose_activation
from secam_onnx.default_model import default_model
from secam_onnx.errors import OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.head import BINARY, ClassOutput, Head
from secam_onnx.head_query import ANYTHING, HeadQuery
from secam_onnx.photograph.choose_preprocessing import choose_preprocessing, input_for
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import IMAGE_SETTINGS, PreprocessingSettings

__all__ = ["reopen"]


def reopen(
    model: ModelProto,
    metadata: ModelMetadata,
    file: Path,
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    *,
    labels: tuple[str, ...] | None = None,
    query: HeadQuery = ANYTHING,
    activation: str | None = None,
) -> AnalysedModel:
    """Recreate the analysis of an explainable model from its metadata.

    Parameters
    ----------
    model : ModelProto
        The model; it stays as it is.
    metadata : ModelMetadata
        The metadata in its file.
    file : Path
        Where it lies.
    preprocessing, labels, activation
        The user's choices, for what the metadata leaves open.
    query : HeadQuery
        Must be empty: the metadata leaves none of it open.

    Raises
    ------
    ModelError
        The metadata does not fit the graph.
    OptionError
        An option contradicts the metadata.
    """
    graph = Graph(model, file.parent)
    check_names(metadata, graph)
    given = {
        "preprocessing": preprocessing,
        "activation": None if activation == "auto" else activation,
        "labels": labels,
    }
    fixed = query.given
    for name, value in given.items():
        if value is None:
            continue
        completed = _COMPLETIONS[name](metadata, graph, value)
        if completed is None:
            fixed.append(name)
        else:
            metadata = completed
    if fixed:
        raise OptionError(_refusal(file, fixed))
    head = _find_again(graph, metadata)
    return AnalysedModel(graph, head, corrected(metadata, head, graph))


def _find_again(graph: Graph, metadata: ModelMetadata) -> Head:
    """Find the head that the metadata describes."""
    known = metadata.head
    if known.own_shape is not None:
        graph.learn({known.features: known.own_shape})
    blocks = None if known.attention is None else known.attention.passed
    query = HeadQuery(metadata.explained_output, known.all_features, known.token_grid, blocks)
    head = locate_head(graph, metadata.preprocessing, query)
    paired = (head.n_classes, known.pick) == (1, BINARY)
    return replace(head, class_output=head.class_output.as_pair()) if paired else head


def _with_preprocessing(
    metadata: ModelMetadata, graph: Graph, preprocessing: Preprocessing | PreprocessingSettings | str
) -> ModelMetadata | None:
    """The metadata with another preprocessing; None if the file fixes its own."""
    if isinstance(preprocessing, PreprocessingSettings) and {*IMAGE_SETTINGS}.issuperset(preprocessing.given):
        # How images are read, which no file fixes.
        return replace(metadata, preprocessing=metadata.preprocessing.with_image_settings(preprocessing))
    origin = metadata.origin.get("preprocessing", "")
    if not origin.startswith("assumed"):
        return None
    if isinstance(preprocessing, PreprocessingSettings):
        preprocessing = preprocessing.with_defaults(metadata.preprocessing.settings(origin))
    chosen, notes = choose_preprocessing(graph, input_for(graph, preprocessing), preprocessing)
    kept = {name: text for name, text in metadata.origin.items() if name != "preprocessing_warning"}
    return replace(metadata, preprocessing=chosen, origin={**kept, **notes})


def _with_activation(metadata: ModelMetadata, graph: Graph, activation: str) -> ModelMetadata | None:
    """The metadata with another activation of raw outputs; None if the model has its own, or the user chose one."""
    if metadata.activation != "none" or metadata.probabilities is not None:
        return None
    if metadata.origin.get("probability") == "as given":
        return None
    n_logits = (graph.shape(metadata.logits) or (None, None))[1] or 0
    probability, note = choose_activation(ClassOutput(metadata.logits, n_logits), activation)
    return replace(metadata, probability=probability, origin={**metadata.origin, "probability": note})


def _with_labels(metadata: ModelMetadata, graph: Graph, labels: tuple[str, ...]) -> ModelMetadata | None:
    """The metadata with class names; None if the file has its own."""
    if metadata.labels is not None:
        return None
    check_labels(labels, graph.shape(metadata.logits))
    return replace(metadata, labels=labels, origin={**metadata.origin, "labels": "as given"})


_COMPLETIONS: dict[str, Callable[[ModelMetadata, Graph, Any], ModelMetadata | None]] = {
    "preprocessing": _with_preprocessing,
    "activation": _with_activation,
    "labels": _with_labels,
}


def _refusal(file: Path, fixed: Sequence[str]) -> str:
    fixes = f"fixes its own {' and '.join(fixed)}"
    if file == default_model():
        return f"The default model {fixes}; name the model that is meant (--model FILE)."
    return f"{file} is an explainable model, which {fixes}; to change that, export it again with `secam-onnx export`."
