"""The analysis of an ordinary ONNX classifier: find its head, expose the feature map, state what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from onnx import ModelProto

from secam_onnx.classifier.metadata import LOGITS, PROBABILITIES, BranchRecord, HeadRecord, ModelMetadata
from secam_onnx.classifier.output_activation import choose_activation
from secam_onnx.errors import HeadError, ModelError, OptionError
from secam_onnx.graph.index import Graph, Shape, describe
from secam_onnx.graph.probe import probe_shapes
from secam_onnx.head import (
    BINARY,
    FEATURES,
    OWN_LAYOUT,
    Head,
    applied_later,
    expose,
    features_name,
    find_head,
    find_heads,
    unexpose,
)
from secam_onnx.labels import miscounted
from secam_onnx.photograph.model_input import image_input
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_choice import choose_labels, choose_preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.photograph.sidecars import activation_beside

__all__ = [
    "check_labels",
    "check_metadata",
    "locate_head",
    "locate_heads",
    "make_explainable",
    "told",
]


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
    head, labels = _named(graph, head, labels, file, origin, activation)
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
    logits, probabilities = expose(model, graph, head, features=FEATURES, logits=LOGITS, probabilities=PROBABILITIES)
    said = applied_later(graph, head.end) or (None if file is None else activation_beside(file))
    how, note = choose_activation(head.end, activation, said)
    if note:
        origin["probability"] = note
    return graph, head, ModelMetadata(
        head.output, logits, head.activation, record, preprocessing, labels, origin,
        probabilities=probabilities, probability=how,
    )  # fmt: skip


def _named(
    graph: Graph,
    head: Head,
    labels: tuple[str, ...] | None,
    file: Path | None,
    origin: dict[str, str],
    activation: str | None,
) -> tuple[Head, tuple[str, ...] | None]:
    """The head with its class names, from wherever they come; one sigmoid with two names is made a pair."""
    single = head.n_classes == 1 and "sigmoid" in (head.activation, activation)
    renumbered = _renumbered(head)
    if labels is not None and renumbered:
        raise OptionError(
            f"{head.output!r} numbers its classes {renumbered}, so names by number would go to other classes. Leave "
            f"the names out, or name the tensor before (--logits {head.logits}), which takes them in its own order."
        )
    if labels is not None:
        if single and len(labels) == len(BINARY):
            return replace(head, end=head.end.as_pair()), labels
        check_labels(labels, (None, head.n_classes))
        return head, labels
    note, found = "", head
    if single:
        labels, note = choose_labels(graph, file, len(BINARY))
        head = head if labels is None else replace(head, end=head.end.as_pair())
    if labels is None and not renumbered:
        labels, note = choose_labels(graph, file, head.n_classes)
    if labels is not None and (others := _as_many(graph, found, len(labels))):
        head, labels = found, None
        note = (
            f"none: {note or 'the file has names'}, but it does not say whether they are those of {head.output!r} or "
            f"of {', '.join(map(repr, others))}, with as many classes; --labels says it"
        )
    if labels is None and head.end.labels is not None and len(head.end.labels) == head.n_classes:
        labels, note = head.end.labels, "read from the graph (ZipMap or a table of names)"
    if note:
        origin["labels"] = note
    return head, labels


def _as_many(graph: Graph, head: Head, n_classes: int) -> list[str]:
    """Other outputs with as many classes, of other logits; one sigmoid may have two names."""
    if len(graph.outputs) < 2:
        return []
    try:
        heads = find_heads(graph)
    except HeadError:
        return []
    return [
        other.output
        for other in heads
        if other.logits != head.logits
        and (other.n_classes == n_classes or (other.n_logits, other.activation, n_classes) == (1, "sigmoid", 2))
    ]


def _renumbered(head: Head) -> str:
    """The numbers that a table in the graph gives the classes, where they are those of other classes; else empty."""
    own = [str(index) for index in range(head.n_classes)]
    names = list(head.end.labels or ())
    return ", ".join(names[:8]) + ", ..." * (len(names) > 8) if names != own and sorted(names) == sorted(own) else ""


def locate_head(
    model: ModelProto,
    graph: Graph,
    preprocessing: Preprocessing,
    folder: Path,
    *,
    output: str | None = None,
    features: str | Sequence[str] | None = None,
    tokens: tuple[int, int] | None = None,
) -> Head:
    """Find the head; where shapes that are not known stand in the way, after a run of the model.

    Parameters
    ----------
    model, graph
        The model and its index, which learns the shapes.
    preprocessing : Preprocessing
        What the model is fed.
    folder : Path
        Where the model's external data lies.
    output, features, tokens
        As in `find_head`.

    Raises
    ------
    HeadError, OptionError
        See `find_head`.
    """

    def find() -> list[Head]:
        return [find_head(graph, output=output, features=features, tokens=tokens)]

    return _with_probes(model, graph, preprocessing, folder, find)[0]


def locate_heads(model: ModelProto, graph: Graph, preprocessing: Preprocessing, folder: Path) -> list[Head]:
    """Find all heads in the same way; see `locate_head` and `find_heads`."""
    return _with_probes(model, graph, preprocessing, folder, lambda: find_heads(graph))


def _with_probes(
    model: ModelProto, graph: Graph, preprocessing: Preprocessing, folder: Path, find: Callable[[], list[Head]]
) -> list[Head]:
    """What is found once shapes that stand in the way are known."""
    input_ = image_input(graph, *told(preprocessing))
    lengths = dict(zip("NCHW", (_PROBED, preprocessing.n_channels, *preprocessing.size), strict=True))
    images = tuple(lengths[axis] for axis in input_.axes)
    graph.image_size, graph.image_axes = preprocessing.size, input_.axes
    asked: set[str] = set()
    while True:
        heads: list[Head] = []
        failure = None
        try:
            heads = find()
        except HeadError as error:
            failure = error
        unknown = graph.vague - asked
        known = (head.understood and len(head.grids) == 1 and None not in head.grid.shape for head in heads)
        if (heads and all(known)) or not unknown:
            break
        # All at once: not a run for every step further up.
        graph.known_shapes(name for node in model.graph.node for name in node.output if name)
        unknown = graph.vague - asked
        asked |= unknown
        graph.learn(probe_shapes(model, graph, sorted(unknown), images, folder))
    if not heads:
        raise failure or HeadError("no head was found")
    return heads


def check_metadata(metadata: ModelMetadata, graph: Graph) -> None:
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
        ("output", metadata.output, graph.producer(metadata.output) is not None),
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
    choose_preprocessing(graph, image_input(graph, *told(metadata.preprocessing)), metadata.preprocessing)


def check_labels(labels: Sequence[str], logits: Shape | None) -> None:
    """Compare class names with the shape of the logits, `(N, classes)`.

    Raises
    ------
    OptionError
        The number of labels is not the number of classes.
    """
    if logits is not None and logits[1] not in (None, len(labels)):
        pair = " For one logit with two names, negative and positive: --activation sigmoid."
        raise OptionError(miscounted(labels, logits[1]) + (pair if (logits[1], len(labels)) == (1, 2) else ""))


def told(
    preprocessing: Preprocessing | PreprocessingSettings | str | None,
) -> tuple[Literal["NCHW", "NHWC"] | None, int | None]:
    """What it says of the input's layout and of the number of channels."""
    if preprocessing is None or isinstance(preprocessing, str):
        return None, None
    return preprocessing.layout, preprocessing.n_channels
