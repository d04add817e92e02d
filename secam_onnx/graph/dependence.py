"""Which of a model's inputs its tensors are computed from, and the part of a model that some of them need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx import ModelProto, ValueInfoProto

from secam_onnx.graph.node_index import NodeIndex
from secam_onnx.graph.node_info import reads
from secam_onnx.graph.splice import made_by, needed

__all__ = ["inputs_behind", "keep_only"]


def inputs_behind(graph: NodeIndex) -> dict[str, frozenset[str]]:
    """The inputs of the model that each tensor is computed from, their shapes included; none for constants."""
    behind = {name: frozenset[str]() for name in graph.initializers}
    behind |= {value.name: frozenset([value.name]) for value in graph.inputs}
    for node in graph.model.graph.node:
        found = frozenset[str]().union(*(behind.get(name, frozenset()) for name in reads(node)))
        behind |= dict.fromkeys((name for name in node.output if name), found)
    return behind


def keep_only(model: ModelProto, outputs: Sequence[ValueInfoProto], made: Iterable[str] = ()) -> None:
    """Leave in a model, in place, only what leads to some of its tensors, which become its outputs.

    Parameters
    ----------
    model : ModelProto
        The model.
    outputs : sequence of ValueInfoProto
        Tensors of the model, with their types.
    made : iterable of str
        Tensors that the caller makes in another way; nodes that make nothing but these are dropped.
    """
    graph, given = model.graph, set(made)
    own = [node for node in graph.node if not given.issuperset(filter(None, node.output))]
    nodes = needed(own, [value.name for value in outputs])
    results = {name for node in nodes for name in node.output if name}
    used = {name for node in nodes for name in reads(node)} | set(made_by(nodes)) | {value.name for value in outputs}
    declared = [ValueInfoProto.FromString(value.SerializeToString()) for value in outputs]
    del graph.output[:]
    graph.output.extend(declared)
    for field in (graph.initializer, graph.input, graph.value_info):
        for index in reversed(range(len(field))):
            if field[index].name not in used:
                del field[index]
    for index in reversed(range(len(graph.node))):
        if results.isdisjoint(graph.node[index].output):
            del graph.node[index]
