"""Nodes of one graph in another: copies under new names, and without what nobody reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from onnx import AttributeProto, GraphProto, NodeProto

from secam_onnx.checks.order import reads

__all__ = ["made_by", "needed", "renamed"]


def made_by(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """Names of all tensors that nodes make, and of what lies in their bodies."""
    for node in nodes:
        yield from (name for name in node.output if name)
        for body in _bodies(node):
            yield from (value.name for value in (*body.input, *body.initializer))
            yield from made_by(body.node)


def renamed(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> list[NodeProto]:
    """Copies of nodes; tensors, wherever they are named in them, have other names, as far as `names` has any."""
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


def needed(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """Those of some nodes, which are in running order, that lead to the outputs."""
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
