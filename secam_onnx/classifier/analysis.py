"""The analysis of an ordinary classifier: find its head, expose its feature map, write down its metadata."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from secam_onnx import runtime
from secam_onnx.classifier.class_names import name_classes
from secam_onnx.classifier.head_search import locate_head
from secam_onnx.classifier.metadata import (
    LOGITS,
    PROBABILITIES,
    AttentionRecord,
    BranchRecord,
    HeadRecord,
    ModelMetadata,
)
from secam_onnx.classifier.output_activation import choose_activation
from secam_onnx.completeness import tolerance_of
from secam_onnx.errors import OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import describe
from secam_onnx.head import (
    FEATURES,
    ContributionModel,
    Head,
    activation_elsewhere,
    contribution_model,
    expose,
    unexpose,
    with_split_layer,
)
from secam_onnx.head_query import ANYTHING, HeadQuery
from secam_onnx.photograph.choose_preprocessing import choose_preprocessing, input_for
from secam_onnx.photograph.model_input import ImageInput
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings

__all__ = ["AnalysedModel", "analyse", "head_record"]


@dataclass(frozen=True)
class AnalysedModel:
    """A classifier after its analysis; sessions, proofs and fused models are made from it.

    Attributes
    ----------
    graph : Graph
        The model, with the added outputs, and its index.
    head : Head
        Its head.
    metadata : ModelMetadata
        Its metadata; the model does not hold it yet.
    """

    graph: Graph
    head: Head
    metadata: ModelMetadata

    @property
    def model(self) -> ModelProto:
        """The model."""
        return self.graph.model

    @property
    def folder(self) -> Path:
        """The folder of its external data."""
        return self.graph.folder

    @property
    def input(self) -> ImageInput:
        """The image input."""
        found = input_for(self.graph, self.metadata.preprocessing)
        one = "N" in found.axes and self.head.of_one_image(self.graph)
        return replace(found, shape=(1, *found.shape[1:])) if one else found

    @property
    def tolerance(self) -> float:
        """The largest completeness error that the precision of the head explains."""
        return tolerance_of(self.head.epsilon(self.graph))

    def with_split_layer(self) -> tuple[AnalysedModel, runtime.SharedWeights]:
        """Run a large layer on the flattened feature map cell by cell, if the head has one; see `head.layer_split`.

        Returns
        -------
        analysed : AnalysedModel
            The model with the layer split, or this one.
        weights : SharedWeights
            The values of initializers that the split added.
        """
        graph, head, weights = with_split_layer(self.graph, self.head, logits=LOGITS, probabilities=PROBABILITIES)
        return replace(self, graph=graph, head=head), weights

    def contribution_model(self, attribution: str, known: runtime.SharedWeights) -> ContributionModel:
        """Derive the contribution model of the head; `known` holds weights that were read already."""
        masking = attribution == "masking"
        return contribution_model(self.graph, self.head, masking=masking, known=known)


def analyse(
    model: ModelProto,
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    *,
    labels: tuple[str, ...] | None = None,
    file: Path | None = None,
    folder: Path | None = None,
    origin: dict[str, str] | None = None,
    query: HeadQuery = ANYTHING,
    activation: str | None = None,
) -> AnalysedModel:
    """Find the head of an ordinary model and expose its feature map, in place.

    Parameters
    ----------
    model : ModelProto
        Gains the added outputs, and loses those of an earlier analysis. The caller writes the metadata into it.
    preprocessing : Preprocessing, PreprocessingSettings or str, optional
        See `choose_preprocessing`; the metadata's `origin` says how it was chosen.
    file : Path, optional
        Where the model lies; given only if the files beside it are to be read.
    folder : Path, optional
        Where its external data lies; by default the folder of `file`.
    labels, origin
        As in `ModelMetadata`.
    query : HeadQuery
        What to look for.
    activation : str, optional
        See `choose_activation`.

    Raises
    ------
    ModelError
        See `find_head`, `image_input` and `choose_preprocessing`.
    OptionError
        The number of labels is not the number of classes.
    """
    from secam_onnx.photograph.sidecars.beside_model import activation_beside  # explainable files need no such reader

    unexpose(model)
    folder = folder or (file.parent if file is not None else Path())
    graph = Graph(model, folder)
    input_ = input_for(graph, preprocessing)
    preprocessing, notes = choose_preprocessing(graph, input_, preprocessing, file)
    kept = {name: text for name, text in (origin or {}).items() if name != "preprocessing_warning"}
    head = locate_head(graph, preprocessing, query)
    _check_token_grid(head, query.token_grid)
    head, labels, named = name_classes(graph, head, labels, file, activation)
    notes |= named
    if head.warning:
        notes["features_warning"] = head.warning
    beside = activation_elsewhere(graph, head.class_output) or (None if file is None else activation_beside(file))
    logits, probabilities = expose(graph, head, features=FEATURES, logits=LOGITS, probabilities=PROBABILITIES)
    probability, note = choose_activation(head.class_output, activation, beside)
    if note:
        notes["probability"] = note
    metadata = ModelMetadata(
        explained_output=head.output,
        logits=logits,
        activation=head.activation,
        head=head_record(head, graph),
        preprocessing=preprocessing,
        labels=labels,
        origin=kept | notes,
        probabilities=probabilities,
        probability=probability,
    )
    return AnalysedModel(graph, head, metadata)


def _check_token_grid(head: Head, asked: tuple[int, int] | None) -> None:
    if asked is not None and "L" not in head.grid.layout:
        raise OptionError(
            f"A grid of {asked[0]} x {asked[1]} tokens was given (--token-grid), but no feature map has that many; the "
            f"one that was found, {head.features!r}, has a grid of its own. Leave --token-grid out, or see "
            "`secam-onnx inspect`."
        )


def head_record(head: Head, graph: Graph) -> HeadRecord:
    """What the metadata says of a head that was found in a graph."""
    passed, total = head.cuts, head.attention[1]
    return HeadRecord(
        kind=head.kind,
        features=head.features,
        layout=head.grid.layout,
        shape=head.grid.shape,
        algebra=head.algebra,
        prefix=head.grid.prefix,
        suffix=head.grid.suffix,
        span=head.grid.span.edges,
        further=tuple(BranchRecord(grid.tensor, grid.shape, grid.layout, grid.span.edges) for grid in head.grids[1:]),
        pick=head.class_output.pick,
        attention=AttentionRecord(passed, total, head.plain_transformer(graph), head.rounds) if total else None,
        weights=head.weights,
        steps=tuple((describe(step.node), step.reason) for step in reversed(head.steps)),
        rejected=tuple((entry.tensor, entry.reason) for entry in head.rejected),
    )
