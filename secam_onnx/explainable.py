"""From an ordinary ONNX classifier to an explainable one: find the head, expose the feature map, state the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onnx import ModelProto, TensorProto

from secam_onnx.choice import choose_labels, choose_preprocessing
from secam_onnx.contract import LOGITS, BranchRecord, Contract, HeadRecord
from secam_onnx.errors import HeadError, ModelError, OptionError
from secam_onnx.head import (
    FEATURES,
    OWN_LAYOUT,
    Graph,
    Head,
    Shape,
    describe,
    expose,
    features_name,
    find_head,
    unexpose,
)
from secam_onnx.labels import miscounted
from secam_onnx.names import RESERVED
from secam_onnx.preprocess import Preprocessing
from secam_onnx.probe import probe_shapes
from secam_onnx.settings import PreprocessingSettings

__all__ = [
    "ImageInput",
    "check_contract",
    "check_labels",
    "image_input",
    "locate_head",
    "make_explainable",
]


_LONGEST_EDGE = 8192
_PROBED = 2  # images
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
_DTYPES = {*_FLOATS, TensorProto.UINT8}


@dataclass(frozen=True)
class ImageInput:
    """The one input of an image classifier.

    Attributes
    ----------
    name : str
        Its name.
    shape : tuple
        Four lengths; None for those that the run decides.
    layout : {'NCHW', 'NHWC'}
        Where the channels are.
    size : (int or None, int or None)
        Height and width.
    dtype : int
        `TensorProto.FLOAT`, ...
    """

    name: str
    shape: tuple[int | None, ...]
    layout: Literal["NCHW", "NHWC"]
    size: tuple[int | None, int | None]
    dtype: int = TensorProto.FLOAT

    @property
    def whole_numbers(self) -> bool:
        """Whether it takes pixels as they are: nothing else can be told by its type."""
        return self.dtype not in _FLOATS

    @property
    def dtype_name(self) -> str:
        """The type, for people."""
        return TensorProto.DataType.Name(self.dtype).lower()


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
) -> tuple[Graph, Head, Contract]:
    """Find the head of an ordinary model and expose its feature map, in place.

    Parameters
    ----------
    model : ModelProto
        Gains the outputs of the contract, and loses those that it may have from before; the metadata entry is for the
        caller to write.
    preprocessing : Preprocessing, PreprocessingSettings or str, optional
        See `choose_preprocessing`; `origin` says how it was chosen.
    file : Path, optional
        Where the model lies, if what the files beside it say is to be used.
    labels, origin, output, features, tokens
        As in `Contract` and `find_head`.

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
    input_ = image_input(graph, getattr(preprocessing, "layout", None))
    origin = dict(origin or {})
    preprocessing, chosen = choose_preprocessing(graph, input_, preprocessing, file)
    origin |= chosen
    head = locate_head(model, graph, preprocessing, folder, output=output, features=features, tokens=tokens)
    if tokens is not None and "L" not in head.grid.layout:
        raise OptionError(
            f"A grid of {tokens[0]} x {tokens[1]} tokens was given (--grid), but no feature map has that many; the one "
            f"that was found, {head.features!r}, has a grid of its own. Leave --grid out, or see `secam-onnx inspect`."
        )
    if labels is not None:
        check_labels(labels, (None, head.n_classes))
    else:
        labels, note = choose_labels(graph, file, head.n_classes)
        if note:
            origin["labels"] = note
    record = HeadRecord(
        kind=head.kind,
        features=head.features,
        layout=head.grid.layout,
        shape=head.grid.shape,
        algebra=head.algebra,
        prefix=head.grid.prefix,
        span=head.grid.span.edges,
        further=tuple(BranchRecord(grid.tensor, grid.shape, grid.layout, grid.span.edges) for grid in head.grids[1:]),
        weights=head.weights,
        steps=tuple((describe(step.node), step.reason) for step in reversed(head.steps)),
        rejected=tuple((entry.tensor, entry.reason) for entry in head.rejected),
    )
    logits = expose(model, graph, head, features=FEATURES, logits=LOGITS)
    return graph, head, Contract(head.output, logits, head.activation, record, preprocessing, labels, origin)


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
    rows, columns = preprocessing.size
    images = (_PROBED, 3, rows, columns) if preprocessing.layout == "NCHW" else (_PROBED, rows, columns, 3)
    asked: set[str] = set()
    while True:
        head, failure = None, None
        try:
            head = find_head(graph, output=output, features=features, tokens=tokens)
        except HeadError as error:
            failure = error
        unknown = graph.vague - asked
        single = head is not None and head.understood and len(head.grids) == 1
        if (single and head is not None and None not in head.grid.shape) or not unknown:
            break
        asked |= unknown
        graph.learn(probe_shapes(model, graph, sorted(unknown), images, folder))
    if head is None:
        raise failure or HeadError("no head was found")
    return head


def image_input(graph: Graph, layout: Literal["NCHW", "NHWC"] | None = None) -> ImageInput:
    """The model's only input, a float image.

    Parameters
    ----------
    graph : Graph
        The model.
    layout : {'NCHW', 'NHWC'}, optional
        Where the channels are, if the shape leaves that open; NCHW by default.

    Raises
    ------
    ModelError
        There are several inputs, or it is not `(N, 3, H, W)` or `(N, H, W, 3)`.
    """
    if len(graph.inputs) != 1:
        names = ", ".join(repr(value.name) for value in graph.inputs) or "none"
        raise ModelError(f"The model has {len(graph.inputs)} inputs ({names}); one image input was expected.")
    (value,) = graph.inputs
    shape, dtype = graph.shape(value.name), graph.dtype(value.name)
    if dtype not in _DTYPES:
        raise ModelError(
            f"The model's input {value.name!r} is of type {TensorProto.DataType.Name(dtype).lower()}; "
            "float, float16, double or uint8 was expected. Export it with a float input."
        )
    first, last = (shape[1], shape[3]) if shape is not None and len(shape) == 4 else (0, 0)
    fits = {
        "NCHW": first == 3 or (first is None and last != 3),
        "NHWC": last == 3 or (last is None and first != 3 and layout == "NHWC"),
    }
    if shape is None or not any(fits.values()):
        raise ModelError(
            f"The model's input {value.name!r} has shape {shape}; a batch of colour images, (N, 3, H, W) or "
            "(N, H, W, 3), was expected."
        )
    wrong = [length for length in shape if length is not None and not 1 <= length <= _LONGEST_EDGE]
    if wrong:
        raise ModelError(
            f"The model's input {value.name!r} has shape {shape}; lengths of 1 to {_LONGEST_EDGE} were expected, not "
            f"{wrong[0]}. Export it for images of a usual size."
        )
    if fits["NHWC"] and (layout == "NHWC" or not fits["NCHW"]):
        return ImageInput(value.name, shape, "NHWC", (shape[1], shape[2]), dtype)
    return ImageInput(value.name, shape, "NCHW", (shape[2], shape[3]), dtype)


def check_contract(contract: Contract, graph: Graph) -> None:
    """Compare what a model says of itself with its graph.

    Raises
    ------
    ModelError
        It names what is not there, or other lengths than are there.
    """
    again = "Export the original model again with `secam-onnx export`."
    head = contract.head
    own = {name for name in graph.outputs if not name.startswith(RESERVED)}
    exposed = [features_name(index) for index in range(len(head.all_features))]
    if head.prefix:
        exposed[0] += OWN_LAYOUT
    there = [
        *(("feature map", name, graph.producer(name) is not None) for name in head.all_features),
        ("output", contract.output, contract.output in own),
        ("logits", contract.logits, contract.logits in graph.outputs),
        *(("added output", name, name in graph.outputs) for name in exposed),
    ]
    for what, name, found in there:
        if not found:
            raise ModelError(f"The model's secam_onnx metadata names the {what} {name!r}, which is not in it. {again}")
    classes = (graph.shape(contract.logits) or ())[1:]
    if contract.labels is not None and classes and classes[0] not in (None, len(contract.labels)):
        raise ModelError(
            f"The model's secam_onnx metadata has {len(contract.labels)} labels for {classes[0]} classes. {again}"
        )
    choose_preprocessing(graph, image_input(graph, contract.preprocessing.layout), contract.preprocessing)


def check_labels(labels: Sequence[str], logits: Shape | None) -> None:
    """Compare class names with the shape of the logits, `(N, classes)`.

    Raises
    ------
    OptionError
        The number of labels is not the number of classes.
    """
    if logits is not None and logits[1] not in (None, len(labels)):
        raise OptionError(miscounted(labels, logits[1]))
