"""The analysis of an ordinary ONNX classifier: find its head, expose the feature map, state what was found."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto

from secam_onnx.classifier.class_names import name_classes
from secam_onnx.classifier.head_search import locate_head, told
from secam_onnx.classifier.metadata import LOGITS, PROBABILITIES, BranchRecord, HeadRecord, ModelMetadata
from secam_onnx.classifier.output_activation import choose_activation
from secam_onnx.errors import OptionError
from secam_onnx.graph.index import Graph, describe
from secam_onnx.head import (
    FEATURES,
    Head,
    applied_later,
    expose,
    unexpose,
)
from secam_onnx.photograph.model_input import image_input
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_choice import choose_preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.photograph.sidecars import activation_beside

__all__ = ["make_explainable"]


_PROBED = 2  # images


def make_explainable(
    model: ModelProto,
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    *,
    labels: tuple[str, ...] | None = None,
    file: Path | None = None,
    origin: dict[str, str] | None = None,
    output: str | None = None,
    features: str | None = None,
    tokens: tuple[int, int] | None = None,
    activation: str | None = None,
) -> tuple[Graph, Head, ModelMetadata]:
    """Find the head of an ordinary model and expose its feature map, in place.

    Parameters
    ----------
    model : ModelProto
        Gains the added outputs, and loses those that it may have from before; the metadata entry is for the
        caller to write.
    preprocessing : Preprocessing, PreprocessingSettings or str, optional
        See `choose_preprocessing`; `origin` says how it was chosen.
    file : Path, optional
        Where the model lies, if the files beside it are to be read as well.
    labels, origin, output, features, tokens
        As in `ModelMetadata` and `find_head`.
    activation : str, optional
        See `choose_activation`.

    Raises
    ------
    ModelError
        See `find_head`, `image_input` and `choose_preprocessing`.
    OptionError
        The number of labels is not the number of classes.
    """
    unexpose(model)
    folder = file.parent if file is not None else Path()
    graph = Graph(model, folder)
    input_ = image_input(graph, *told(preprocessing))
    origin = dict(origin or {})
    preprocessing, chosen = choose_preprocessing(graph, input_, preprocessing, file)
    origin = {name: text for name, text in origin.items() if name != "preprocessing_warning"} | chosen
    head = locate_head(model, graph, preprocessing, folder, output=output, features=features, tokens=tokens)
    if tokens is not None and "L" not in head.grid.layout:
        raise OptionError(
            f"A grid of {tokens[0]} x {tokens[1]} tokens was given (--grid), but no feature map has that many; the one "
            f"that was found, {head.features!r}, has a grid of its own. Leave --grid out, or see `secam-onnx inspect`."
        )
    head, labels = name_classes(graph, head, labels, file, origin, activation)
    record = HeadRecord(
        kind=head.kind,
        features=head.features,
        layout=head.grid.layout,
        shape=head.grid.shape,
        algebra=head.algebra,
        prefix=head.grid.prefix,
        suffix=head.grid.suffix,
        span=head.grid.span.edges,
        further=tuple(BranchRecord(grid.tensor, grid.shape, grid.layout, grid.span.edges) for grid in head.grids[1:]),
        pick=head.end.pick,
        weights=head.weights,
        steps=tuple((describe(step.node), step.reason) for step in reversed(head.steps)),
        rejected=tuple((entry.tensor, entry.reason) for entry in head.rejected),
    )
    if head.warning:
        origin["features_warning"] = head.warning
    said = applied_later(graph, head.end) or (None if file is None else activation_beside(file))
    logits, probabilities = expose(graph, head, features=FEATURES, logits=LOGITS, probabilities=PROBABILITIES)
    how, note = choose_activation(head.end, activation, said)
    if note:
        origin["probability"] = note
    return graph, head, ModelMetadata(
        head.output, logits, head.activation, record, preprocessing, labels, origin,
        probabilities=probabilities, probability=how,
    )  # fmt: skip
