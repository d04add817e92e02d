"""The fused model: all steps from picture to superpixels in one graph, each the one that the explainer runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from secam_onnx.arguments import check_fields
from secam_onnx.classifier.analysis import AnalysedModel
from secam_onnx.classifier.attribution import choose_attribution
from secam_onnx.classifier.metadata import KEY, FusedRecord, ModelMetadata
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.fusion.classes import chosen_classes, probabilities
from secam_onnx.fusion.float16 import halve_weights
from secam_onnx.fusion.maps import Spliced, spliced_maps
from secam_onnx.fusion.pictures import normalised, overlay
from secam_onnx.graph.node_info import reads
from secam_onnx.graph.nodes import Nodes
from secam_onnx.graph.opset import at_opset, opset_of
from secam_onnx.graph.splice import made_by, needed, renamed
from secam_onnx.head import CLASS_IDS
from secam_onnx.names import RESERVED
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import OF_IMAGES
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.cells import Cells
from secam_onnx.superpixels.kmeans import BLOCKS, kmeans
from secam_onnx.superpixels.pooling_nodes import pooled
from secam_onnx.superpixels.selection import Selection

__all__ = ["Fusion", "fused_model", "ready_to_fuse"]

_OPSET = 18  # that of K-means and of the contribution models
_MOST_CLASSES = 100  # explained by default
_IR_VERSION = 8  # the lowest that goes with it, so that older runtimes read the file
_TYPES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
}


@dataclass(frozen=True)
class Fusion:
    """What goes into a fused model.

    Attributes
    ----------
    segmenter : Segmenter
        How superpixels are made; `kmeans` is the one that there is as ONNX nodes.
    selection : Selection
        Which superpixels the picture keeps.
    top_k : int
        How many of the highest classes are explained where `classes` is not given.
    overlay : bool
        Whether the finished picture is an output.
    default_classes : bool
        Whether `classes` need not be given. Engines that know no optional inputs (ONNX Runtime Web and Node, OpenVINO)
        then always explain the top ones.
    float16 : bool
        Store weights with 16 bits.
    attribution : str, optional
        See `choose_attribution`.
    """

    segmenter: Segmenter = field(default_factory=Segmenter)
    selection: Selection = field(default_factory=Selection)
    top_k: int = 1
    overlay: bool = True
    default_classes: bool = True
    float16: bool = False
    attribution: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.segmenter.method != "kmeans":
            raise OptionError(
                f"The segmenter {self.segmenter.method!r} cannot go into a fused model; only kmeans is made of ONNX "
                "nodes."
            )
        if not 1 <= self.top_k <= _MOST_CLASSES:
            raise OptionError(f"top_k is {self.top_k}; 1 to {_MOST_CLASSES} was expected.")


def ready_to_fuse(model: ModelProto) -> ModelProto:
    """The model at an opset that the other parts can be written in.

    Raises
    ------
    ModelError
        It cannot be brought to that.
    """
    return at_opset(model, _OPSET)


def _metadata(model: ModelProto) -> dict[str, str]:
    """What others say of a model; the last value of a key, as ONNX Runtime has it."""
    return {entry.key: entry.value for entry in model.metadata_props}


def fused_model(analysed: AnalysedModel, fusion: Fusion) -> tuple[ModelProto, ModelMetadata]:
    """Splice all steps into one model.

    Parameters
    ----------
    analysed : AnalysedModel
        The model, with its weights in memory; it stays as it is.
    fusion : Fusion
        What goes in.

    Returns
    -------
    model : ModelProto
        See `FusedRecord` for its inputs and outputs.
    metadata : ModelMetadata
        What is to be said of it; to write that into it is for the caller.

    Raises
    ------
    ModelError
        The size of the feature map is not known, or names clash.
    OptionError
        `fusion` does not fit the model.
    """
    model, head, metadata = analysed.model, analysed.head, analysed.metadata
    preprocessing = metadata.preprocessing
    if not preprocessing.of_photographs:
        raise ModelError(_no_photographs(preprocessing))
    rows, columns = head.map_size
    if rows is None or columns is None:
        raise ModelError("The size of the feature map depends on the run; export the model for one image size.")
    if fusion.top_k > head.n_classes:
        raise OptionError(f"top_k is {fusion.top_k}, but the model has {head.n_classes} classes.")
    attribution = choose_attribution(head.algebra, fusion.attribution)
    split, made = analysed.with_split_layer()
    network, head = split.model, split.head
    contribution = split.contribution_model(attribution, made)
    kept = {metadata.logits, metadata.probabilities}
    own = [value for value in network.graph.output if value.name in kept or not value.name.startswith(RESERVED)]

    size = preprocessing.size
    input_ = split.input
    cells = Cells.fitted(size, fusion.segmenter.n_segments, BLOCKS)
    record = FusedRecord(
        size=size,
        batch=input_.batch,
        opset=opset_of(contribution.model),
        n_classes=head.n_classes,
        map_size=(rows, columns),
        n_segments=cells.count,
        segmenter=fusion.segmenter,
        selection=fusion.selection,
        attribution=attribution,
        tolerance=split.tolerance,
        top_k=fusion.top_k,
        default_classes=fusion.default_classes,
        overlay=fusion.overlay,
        float16=fusion.float16,
        own_outputs={},
    )
    clashing = _clashing(network, [*record.inputs, *record.outputs])
    record = dataclasses.replace(
        record, own_outputs={value.name: clashing.get(value.name, value.name) for value in own}
    )
    before, behind = Nodes(f"{RESERVED}input_"), Nodes(f"{RESERVED}fused_")
    image_in = normalised(before, "image", preprocessing, split.graph.dtype(input_.name), input_.dropped)
    names = {**clashing, input_.name: image_in}
    logits = names.get(metadata.logits, metadata.logits)
    classes = Nodes(f"{RESERVED}classes_")
    ids = chosen_classes(classes, "classes", logits, head.n_classes)
    classes.nodes.append(helper.make_node("Identity", [ids], [CLASS_IDS]))
    maps = spliced_maps(behind, network, head, contribution, attribution)
    shares = None if metadata.probabilities is None else names.get(metadata.probabilities, metadata.probabilities)
    results = _results(behind, metadata, record, cells, (logits, shares), maps)
    nodes = [
        *before.nodes,
        *renamed(network.graph.node, names),
        *classes.nodes,
        *renamed(maps.nodes, names),
        *behind.nodes,
        *(helper.make_node("Identity", [tensor], [name]) for name, tensor in results.items()),
    ]

    fused = ModelProto(ir_version=max(model.ir_version, _IR_VERSION), producer_name="secam-onnx")
    fused.opset_import.extend(contribution.model.opset_import)
    fused.functions.extend(network.functions)
    # Author, licence, whatever others read there; the caller writes ours.
    helper.set_model_props(fused, {key: value for key, value in _metadata(model).items() if key != KEY})
    fused.doc_string, fused.graph.doc_string = model.doc_string, model.graph.doc_string
    fused.domain, fused.model_version = model.domain, model.model_version
    body = fused.graph
    body.name = "secam_fused"
    body.node.extend(needed(nodes, [*record.own_outputs.values(), *record.outputs]))
    which = {name for node in classes.nodes for name in node.output}
    for place, node in enumerate(body.node):
        # Of two graphs, some are alike; and they are a tenth of what is added. Only these fail on what a user asks for.
        node.name = f"which_classes_{place}" if which.intersection(node.output) else ""
    body.input.extend(_declared(name, *record.inputs[name]) for name in record.inputs)
    for value in own:
        body.output.add().CopyFrom(value)
        body.output[-1].name = record.own_outputs[value.name]
    body.output.extend(_declared(name, *record.outputs[name]) for name in record.outputs)
    read = {name for node in body.node for name in reads(node)} | {value.name for value in body.output}
    for tensor in (*network.graph.initializer, *maps.initializers, *before.values, *classes.values, *behind.values):
        name = names.get(tensor.name, tensor.name)
        if name in read:
            body.initializer.append(
                numpy_helper.from_array(made.copied[tensor.name]) if tensor.name in made.copied else tensor
            )
            body.initializer[-1].name = name
    if fusion.default_classes:
        body.initializer.append(numpy_helper.from_array(-1 - np.arange(fusion.top_k)[None], "classes"))
    if fusion.float16:
        # Ours are no weights: superpixels depend on their last bit.
        halve_weights(fused, {value.name for part in (before, classes, behind) for value in part.values})
    return fused, dataclasses.replace(metadata, fused=record)


def _results(
    n: Nodes, metadata: ModelMetadata, record: FusedRecord, cells: Cells, scores: tuple[str, str | None], maps: Spliced
) -> dict[str, str]:
    """Everything behind the maps; tensors by the name of the output that they become.

    `scores` are the logits and the model's own probabilities, if it has any.
    """
    logits, shares = scores
    shares = shares or probabilities(n, logits, metadata.probability, record.n_classes)
    size = metadata.preprocessing.size
    segments = kmeans(n, "image", cells, compactness=record.segmenter.compactness)
    pools = pooled(n, maps.maps, segments, size, record.map_size, cells.count)
    there = n.op("Cast", [n.op("Greater", [pools.pixels, n.floats(0.0)])], to=TensorProto.INT32)
    results = {
        "class_ids": CLASS_IDS,
        "class_logits": n.op("GatherElements", [logits, CLASS_IDS], axis=1),
        "class_probabilities": n.op("GatherElements", [shares, CLASS_IDS], axis=1),
        "cam": maps.maps,
        "bias": maps.bias,
        "segments": segments,
        "n_segments": n.op("ReduceSum", [there, n.integers([1, 2])], keepdims=0),
        "segment_scores": pools.segment_scores,
        "segment_contributions": pools.segment_contributions,
    }
    if record.overlay:
        results["overlay"] = overlay(n, "image", segments, pools, record.selection, size)
    return results


def _no_photographs(preprocessing: Preprocessing) -> str:
    """What is said of a model that takes more than an ordinary picture."""
    takes, less = f"{preprocessing.n_channels} channels", ""
    if preprocessing.n_channels in (1, 3):
        chosen = [name for name in OF_IMAGES if getattr(preprocessing, name) is not None]
        takes, less = f"images by {' and '.join(chosen)}", f", or leave {' and '.join(chosen)} out"
    return f"A fused model takes 8-bit RGB as it is, and this one takes {takes}. Export it without --fused{less}."


def _clashing(network: ModelProto, taken: Iterable[str]) -> dict[str, str]:
    """New names for the network's tensors that are called as an input or output of the fused model is."""
    graph = network.graph
    theirs = {*made_by(graph.node), *(tensor.name for tensor in graph.initializer)}
    names: dict[str, str] = {}
    for name in taken:
        if name in theirs:
            names[name] = f"model_{name}"
            while names[name] in theirs:
                names[name] = f"model_{names[name]}"
    return names


def _declared(name: str, dtype: str, shape: Sequence[str | int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[dtype], list(shape))
