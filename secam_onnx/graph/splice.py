"""Moving nodes into another graph: copies under new names, without those that nothing reads."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from onnx import AttributeProto, GraphProto, NodeProto, helper

from secam_onnx.graph.node_info import reads
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["made_by", "needed", "renamed", "self_contained"]

_STATE = f"{RESERVED}state_"


def made_by(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """Names of all tensors that nodes make, those in their bodies included."""
    for node in nodes:
        yield from (name for name in node.output if name)
        for body in _bodies(node):
            yield from (value.name for value in (*body.input, *body.initializer))
            yield from made_by(body.node)


def renamed(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> list[NodeProto]:
    """Copies of nodes whose tensors have the names that `names` gives them, in bodies as well."""
    copies = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names.get(name, name) for name in node.input]
        copy.output[:] = [names.get(name, name) for name in node.output]
        for body in _bodies(copy):
            _rename_body(body, names)
        copies.append(copy)
    return copies


def _rename_body(body: GraphProto, names: Mapping[str, str]) -> None:
    for field in (body.input, body.output, body.initializer, body.value_info):
        for entry in field:
            entry.name = names.get(entry.name, entry.name)
    nodes = renamed(body.node, names)
    del body.node[:]
    body.node.extend(nodes)


def self_contained(scan: NodeProto, constants: Container[str], types: Mapping[str, int]) -> NodeProto:
    """The same Scan with a body that reads nothing but constants from the graph around it, as OpenVINO requires.

    All else becomes state that each step passes on unchanged. `types` has the element types of tensors, as far as they
    are known.
    """
    outside = list(dict.fromkeys(name for name in reads(scan)[len(scan.input) :] if name not in constants))
    (copy,) = renamed([scan], {})
    (body,) = _bodies(copy)
    _rename_body(body, {name: f"{_STATE}{name}" for name in outside})
    inputs, outputs = list(body.input), list(body.output)
    del body.input[:], body.output[:]
    for name in outside:
        for values, value in ((body.input, f"{_STATE}{name}"), (body.output, f"{_STATE}{name}_next")):
            values.add(name=value)
            if name in types:
                values[-1].type.tensor_type.elem_type = types[name]
        body.node.append(helper.make_node("Identity", [body.input[-1].name], [body.output[-1].name]))
    body.input.extend(inputs)
    body.output.extend(outputs)
    copy.input[:] = [*outside, *scan.input]
    copy.output[:] = [*(f"{_STATE}{name}_last" for name in outside), *scan.output]
    return copy


def needed(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes that lead to the outputs, out of some in running order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(reads(node))
            kept.append(node)
    return kept[::-1]


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    for entry in node.attribute:
        if entry.type == AttributeProto.GRAPH:
            yield entry.g
        elif entry.type == AttributeProto.GRAPHS:
            yield from entry.graphs
