"""An explainable model: what it says of itself is held against its graph, and what it leaves open is filled in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from secam_onnx.classifier.analysis import AnalysedModel
from secam_onnx.classifier.class_names import check_labels
from secam_onnx.classifier.head_search import locate_head
from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.classifier.output_activation import choose_activation
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.locate import default_model
from secam_onnx.head import BINARY, OWN_LAYOUT, ClassOutput, Head, features_name
from secam_onnx.head_query import ANYTHING, HeadQuery
from secam_onnx.photograph.choose_preprocessing import check_preprocessing, choose_preprocessing, input_for
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import OF_IMAGES, PreprocessingSettings

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
    """Find in an explainable model again what was found when it was exported.

    Parameters
    ----------
    model : ModelProto
        The model; it stays as it is.
    metadata : ModelMetadata
        What it says of itself.
    file : Path
        Where it lies.
    preprocessing, labels, activation
        What the user says; taken where the metadata leaves it open.
    query : HeadQuery
        What the user says; nothing, as the metadata leaves none of it open.

    Raises
    ------
    ModelError
        The metadata does not fit the graph.
    OptionError
        An option contradicts the metadata.
    """
    graph = Graph(model, file.parent)
    _check_metadata(metadata, graph)
    metadata = _filled_in(file, metadata, graph, preprocessing, labels, query, activation)
    return AnalysedModel(model, graph, _find_again(model, graph, metadata, file.parent), metadata, file.parent)


def _check_metadata(metadata: ModelMetadata, graph: Graph) -> None:
    """Compare what a model says of itself with its graph.

    Raises
    ------
    ModelError
        It names what is not there, or other lengths than are there.
    """
    again = "Export the original model again with `secam-onnx export`."
    head = metadata.head
    exposed = [features_name(index) for index in range(len(head.all_features))]
    if head.special:
        exposed[0] += OWN_LAYOUT
    there = [
        *(("feature map", name, graph.producer(name) is not None) for name in head.all_features),
        ("output", metadata.explained_output, graph.producer(metadata.explained_output) is not None),
        ("logits", metadata.logits, metadata.logits in graph.outputs),
        ("probabilities", metadata.probabilities, metadata.probabilities in (None, *graph.outputs)),
        *(("added output", name, name in graph.outputs) for name in exposed),
    ]
    for what, name, found in there:
        if not found:
            raise ModelError(f"The model's secam_onnx metadata names the {what} {name!r}, which is not in it. {again}")
    classes = (graph.shape(metadata.logits) or ())[1:]
    if metadata.labels is not None and classes and classes[0] not in (None, len(metadata.labels)):
        raise ModelError(
            f"The model's secam_onnx metadata has {len(metadata.labels)} labels for {classes[0]} classes. {again}"
        )
    check_preprocessing(input_for(graph, metadata.preprocessing), metadata.preprocessing)


def _find_again(model: ModelProto, graph: Graph, metadata: ModelMetadata, folder: Path) -> Head:
    """The head that an explainable model says that it has."""
    known = metadata.head
    if known.own_shape is not None:
        graph.learn({known.features: known.own_shape})
    query = HeadQuery(metadata.explained_output, known.all_features, known.token_grid)
    head = locate_head(model, graph, metadata.preprocessing, folder, query)
    paired = (head.n_classes, known.pick) == (1, BINARY)
    return replace(head, class_output=head.class_output.as_pair()) if paired else head


def _filled_in(
    file: Path,
    metadata: ModelMetadata,
    graph: Graph,
    preprocessing: Preprocessing | PreprocessingSettings | str | None,
    labels: tuple[str, ...] | None,
    query: HeadQuery,
    activation: str | None,
) -> ModelMetadata:
    """What an explainable model leaves open may be given by option; what it says itself may not."""
    clashing = query.given
    if isinstance(preprocessing, PreprocessingSettings) and {*OF_IMAGES}.issuperset(preprocessing.given):
        metadata = replace(metadata, preprocessing=metadata.preprocessing.of_images(preprocessing))
    elif preprocessing is not None:
        if metadata.origin.get("preprocessing", "").startswith("assumed"):
            if isinstance(preprocessing, PreprocessingSettings):
                preprocessing = preprocessing.over(metadata.preprocessing.settings(metadata.origin["preprocessing"]))
            chosen, notes = choose_preprocessing(graph, input_for(graph, preprocessing), preprocessing)
            known = {name: text for name, text in metadata.origin.items() if name != "preprocessing_warning"}
            metadata = replace(metadata, preprocessing=chosen, origin={**known, **notes})
        else:
            clashing.append("preprocessing")
    if activation not in (None, "auto"):
        own = metadata.activation != "none" or metadata.probabilities is not None
        if not own and metadata.origin.get("probability") != "as given":
            n_logits = (graph.shape(metadata.logits) or (None, None))[1] or 0
            how, note = choose_activation(ClassOutput(metadata.logits, n_logits), activation)
            metadata = replace(metadata, probability=how, origin={**metadata.origin, "probability": note})
        else:
            clashing.append("activation")
    if labels is not None:
        if metadata.labels is None:
            check_labels(labels, graph.shape(metadata.logits))
            metadata = replace(metadata, labels=labels, origin={**metadata.origin, "labels": "as given"})
        else:
            clashing.append("labels")
    if clashing:
        fixes = f"fixes its own {' and '.join(clashing)}"
        if file == default_model():
            raise OptionError(f"The default model {fixes}; name the model that is meant (--model FILE).")
        raise OptionError(
            f"{file} is an explainable model, which {fixes}; to change that, export it again with `secam-onnx export`."
        )
    return metadata
