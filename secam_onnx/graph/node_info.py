"""What a node tells about itself, and how messages name nodes and shapes."""

from __future__ import annotations

from typing import Any

from onnx import AttributeProto, NodeProto, helper

__all__ = ["Shape", "attribute", "describe", "reads", "shape_text"]

Shape = tuple[int | None, ...]
"""Lengths of a tensor's axes; None where only the run tells."""

_BODIES = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or `default` where it has none."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def reads(node: NodeProto) -> list[str]:
    """The tensors that a node reads: its inputs, and what the bodies of If, Loop and Scan take from outside."""
    names = [name for name in node.input if name]
    for entry in node.attribute:
        for body in (entry.g, *entry.graphs) if entry.type in _BODIES else ():
            made = {name for inner in body.node for name in inner.output}
            made |= {value.name for value in (*body.input, *body.initializer)}
            used = [name for inner in body.node for name in reads(inner)]
            names += [name for name in (*used, *(value.name for value in body.output)) if name not in made]
    return names


def describe(node: NodeProto) -> str:
    """How messages call a node: operator and name, or its output where it has no name."""
    return f"{node.op_type} {node.name or next(iter(node.output), '')!r}"


def shape_text(shape: Shape | None) -> str:
    """A shape for people: `(?, 3, 224, 224)`."""
    if shape is None:
        return "unknown"
    return f"({', '.join('?' if length is None else str(length) for length in shape)})"
