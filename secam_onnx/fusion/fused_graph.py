"""The graph of a fused model: the explainer's own steps, from the picture to the superpixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from secam_onnx.classifier.analysis import AnalysedModel
from secam_onnx.classifier.attribution import choose_attribution
from secam_onnx.classifier.metadata import KEY, FusedRecord, ModelMetadata
from secam_onnx.fusion.classes import chosen_classes, class_probabilities
from secam_onnx.fusion.float16 import halve_weights
from secam_onnx.fusion.maps import Spliced, spliced_maps
from secam_onnx.fusion.options import Fusion, check_fits
from secam_onnx.fusion.pictures import normalised, overlay
from secam_onnx.graph.node_info import reads
from secam_onnx.graph.nodes import Nodes
from secam_onnx.graph.opset import OLDEST_IR_VERSION, OPSET, at_opset, opset_of
from secam_onnx.graph.splice import made_by, needed, renamed
from secam_onnx.head import CLASS_IDS, ContributionModel
from secam_onnx.reserved_prefix import RESERVED
from secam_onnx.runtime import SharedWeights
from secam_onnx.superpixels.cells import Cells
from secam_onnx.superpixels.kmeans import BLOCKS, kmeans
from secam_onnx.superpixels.pooling_nodes import pooled

__all__ = ["fused_model", "ready_to_fuse"]

_TYPES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
}


def ready_to_fuse(model: ModelProto) -> ModelProto:
    """Convert a model to the opset of the other parts, if its own is older.

    Raises
    ------
    ModelError
        It cannot be converted.
    """
    return at_opset(model, OPSET)


def fused_model(analysed: AnalysedModel, fusion: Fusion) -> tuple[ModelProto, ModelMetadata]:
    """Splice all steps into one model.

    Parameters
    ----------
    analysed : AnalysedModel
        The model, with its weights in memory; it stays as it is.
    fusion : Fusion
        The options.

    Returns
    -------
    model : ModelProto
        See `FusedRecord` for its inputs and outputs.
    metadata : ModelMetadata
        The metadata of the fused model; the caller writes it into the model.

    Raises
    ------
    ModelError, OptionError
        See `check_fits`.
    """
    check_fits(fusion, analysed)
    attribution = choose_attribution(analysed.head.algebra, fusion.attribution)
    split, made = analysed.with_split_layer()
    contribution = split.contribution_model(attribution, made)
    cells = Cells.fitted(split.metadata.preprocessing.size, fusion.segmenter.n_segments, BLOCKS)
    record = _record(split, fusion, attribution, cells, contribution)
    own = _own_outputs(split)
    clashing = _clashing(split.model, [*record.inputs, *record.outputs])
    record = dataclasses.replace(
        record, own_outputs={value.name: clashing.get(value.name, value.name) for value in own}
    )
    parts = _parts(split, contribution, record, cells, clashing)

    fused = _header(analysed.model, split.model, contribution.model)
    _add_nodes(fused.graph, split.model, record, parts)
    _declare(fused.graph, record, own, {split.metadata.logits, split.metadata.probabilities})
    _add_initializers(fused.graph, split.model, parts, made)
    if fusion.default_classes:
        default = numpy_helper.from_array(-1 - np.arange(fusion.top_k)[None], "classes")
        fused.graph.initializer.append(default)
    if fusion.float16:
        # The constants added here stay float32: superpixels depend on their last bit.
        halve_weights(fused, {value.name for value in parts.constants})
    return fused, dataclasses.replace(split.metadata, fused=record)


def _record(
    analysed: AnalysedModel, fusion: Fusion, attribution: str, cells: Cells, contribution: ContributionModel
) -> FusedRecord:
    rows, columns = analysed.head.map_size
    assert rows is not None
    assert columns is not None
    return FusedRecord(
        size=analysed.metadata.preprocessing.size,
        batch=analysed.input.batch,
        opset=opset_of(contribution.model),
        n_classes=analysed.head.n_classes,
        map_size=(rows, columns),
        n_segments=cells.count,
        segmenter=fusion.segmenter,
        selection=fusion.selection,
        attribution=attribution,
        tolerance=analysed.tolerance,
        top_k=fusion.top_k,
        default_classes=fusion.default_classes,
        overlay=fusion.overlay,
        float16=fusion.float16,
        own_outputs={},
    )


def _own_outputs(analysed: AnalysedModel) -> list[ValueInfoProto]:
    """The model's own outputs, and the added ones that hold its logits and probabilities."""
    kept = {analysed.metadata.logits, analysed.metadata.probabilities}
    outputs = analysed.model.graph.output
    return [value for value in outputs if value.name in kept or not value.name.startswith(RESERVED)]


@dataclass(frozen=True)
class _Parts:
    """The steps of a fused model, in running order.

    Attributes
    ----------
    image : Nodes
        From the picture to the network's input.
    names : dict
        New names of the network's tensors.
    classes : Nodes
        Which classes are explained.
    maps : Spliced
        The contribution model.
    superpixels : Nodes
        All that follows.
    results : dict
        For each output of the fused model the tensor that it is.
    """

    image: Nodes
    names: dict[str, str]
    classes: Nodes
    maps: Spliced
    superpixels: Nodes
    results: dict[str, str]

    @property
    def constants(self) -> list[TensorProto]:
        """The constants of the added steps."""
        return [*self.image.values, *self.classes.values, *self.superpixels.values]


def _parts(
    analysed: AnalysedModel,
    contribution: ContributionModel,
    record: FusedRecord,
    cells: Cells,
    clashing: dict[str, str],
) -> _Parts:
    metadata, input_ = analysed.metadata, analysed.input
    image, classes, superpixels = (Nodes(f"{RESERVED}{name}_") for name in ("input", "classes", "fused"))
    dtype = analysed.graph.dtype(input_.name)
    network_input = normalised(image, "image", metadata.preprocessing, dtype, input_.dropped)
    names = {**clashing, input_.name: network_input}
    logits = names.get(metadata.logits, metadata.logits)
    ids = chosen_classes(classes, "classes", logits, record.n_classes)
    classes.nodes.append(helper.make_node("Identity", [ids], [CLASS_IDS]))
    maps = spliced_maps(superpixels, analysed.model, analysed.head, contribution, record.attribution)
    if metadata.probabilities is None:
        probabilities = class_probabilities(superpixels, logits, metadata.probability, record.n_classes)
    else:
        probabilities = names.get(metadata.probabilities, metadata.probabilities)
    results = _results(superpixels, record, cells, logits, probabilities, maps)
    return _Parts(image, names, classes, maps, superpixels, results)


def _results(
    n: Nodes, record: FusedRecord, cells: Cells, logits: str, probabilities: str, maps: Spliced
) -> dict[str, str]:
    """All steps behind the maps; for each output of the fused model the tensor that it is."""
    segments = kmeans(n, "image", cells, compactness=record.segmenter.compactness)
    pools = pooled(n, maps.cam, segments, record.size, record.map_size, cells.count)
    there = n.op("Cast", [n.op("Greater", [pools.pixels, n.floats(0.0)])], to=TensorProto.INT32)
    results = {
        "class_ids": CLASS_IDS,
        "class_logits": n.op("GatherElements", [logits, CLASS_IDS], axis=1),
        "class_probabilities": n.op("GatherElements", [probabilities, CLASS_IDS], axis=1),
        "cam": maps.cam,
        "bias": maps.bias,
        "segments": segments,
        "n_segments": n.op("ReduceSum", [there, n.integers([1, 2])], keepdims=0),
        "segment_scores": pools.segment_scores,
        "segment_contributions": pools.segment_contributions,
    }
    if record.overlay:
        results["overlay"] = overlay(n, "image", segments, pools, record.selection, record.size)
    return results


def _header(model: ModelProto, network: ModelProto, contribution: ModelProto) -> ModelProto:
    """A model without nodes that carries the original's author, licence, documentation and version."""
    fused = ModelProto(ir_version=max(model.ir_version, OLDEST_IR_VERSION), producer_name="secam-onnx")
    fused.opset_import.extend(contribution.opset_import)
    fused.functions.extend(network.functions)
    # If a key occurs twice, its last value counts, as in ONNX Runtime. The caller writes our own entry.
    entries = {entry.key: entry.value for entry in model.metadata_props if entry.key != KEY}
    helper.set_model_props(fused, entries)
    fused.doc_string, fused.graph.doc_string = model.doc_string, model.graph.doc_string
    fused.domain, fused.model_version = model.domain, model.model_version
    fused.graph.name = "secam_fused"
    return fused


def _add_nodes(graph: GraphProto, network: ModelProto, record: FusedRecord, parts: _Parts) -> None:
    nodes = [
        *parts.image.nodes,
        *renamed(network.graph.node, parts.names),
        *parts.classes.nodes,
        *renamed(parts.maps.nodes, parts.names),
        *parts.superpixels.nodes,
        *(helper.make_node("Identity", [tensor], [name]) for name, tensor in parts.results.items()),
    ]
    graph.node.extend(needed(nodes, [*record.own_outputs.values(), *record.outputs]))
    of_classes = {name for node in parts.classes.nodes for name in node.output}
    for place, node in enumerate(graph.node):
        # Node names of two graphs may clash, and make up a tenth of what is added. Only nodes that can fail on a
        # user's request get one.
        node.name = f"which_classes_{place}" if of_classes.intersection(node.output) else ""


def _declare(
    graph: GraphProto, record: FusedRecord, own: Iterable[ValueInfoProto], of_classes: set[str | None]
) -> None:
    """Inputs, and outputs: first the model's own, those of classes with their number."""
    graph.input.extend(_declared(name, *declared) for name, declared in record.inputs.items())
    for value in own:
        graph.output.add().CopyFrom(value)
        graph.output[-1].name = record.own_outputs[value.name]
        axes = graph.output[-1].type.tensor_type.shape.dim
        if value.name in of_classes and len(axes) == 2:
            axes[1].dim_value = record.n_classes
    graph.output.extend(_declared(name, *declared) for name, declared in record.outputs.items())


def _add_initializers(graph: GraphProto, network: ModelProto, parts: _Parts, made: SharedWeights) -> None:
    """The weights and constants that some node reads; `made` has those that the network only declares."""
    read = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    for tensor in (*network.graph.initializer, *parts.maps.initializers, *parts.constants):
        name = parts.names.get(tensor.name, tensor.name)
        if name in read:
            copied = made.copied.get(tensor.name)
            graph.initializer.append(tensor if copied is None else numpy_helper.from_array(copied))
            graph.initializer[-1].name = name


def _clashing(network: ModelProto, taken: Iterable[str]) -> dict[str, str]:
    """New names for those tensors of the network whose names the fused model needs for its inputs and outputs."""
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
