"""Tables in the graph that map the index of a class to a name or to another number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute

__all__ = ["Table", "class_names", "table_of"]

Table = Mapping[Any, Any]


def table_of(graph: Graph, node: NodeProto) -> Table | None:
    """The mapping of a node from each number or name; None if it is not a table."""
    if node.op_type == "LabelEncoder":
        strings = attribute(node, "classes_strings")
        if strings:  # the first version of the operator maps both ways
            named: dict[Any, Any] = dict(enumerate(map(_plain, strings)))
            return {**named, **{name: index for index, name in named.items()}}
        keys, values = _entries(node, "keys"), _entries(node, "values")
        return None if keys is None or values is None else dict(zip(keys, values, strict=False))
    gathers = node.op_type == "Gather" and attribute(node, "axis", 0) == 0
    if not (gathers or node.op_type == "ArrayFeatureExtractor") or len(node.input) < 2:
        return None
    if not graph.is_constant(node.input[0]) or graph.is_constant(node.input[1]):
        return None
    array = np.asarray(graph.constant(node.input[0]))
    if array.ndim == 0 or array.size != (array.shape[0] if gathers else array.shape[-1]):
        return None
    listed = list(map(_plain, array.reshape(-1).tolist()))
    backwards = {index - len(listed): value for index, value in enumerate(listed)}
    return {**dict(enumerate(listed)), **(backwards if gathers else {})}


def class_names(n_classes: int, tables: Sequence[Table]) -> tuple[str, ...] | None:
    """Class names from tables, applied last to first; a class that they lack gets its usual name."""
    names, known = [], False
    for index in range(n_classes):
        value: Any = index
        for table in reversed(tables):
            value = table.get(value)
        known |= value is not None
        names.append(f"class {index}" if value is None else str(_plain(value)))
    return tuple(names) if known else None


def _entries(node: NodeProto, what: str) -> list[Any] | None:
    """The keys or the values of a LabelEncoder, of whichever type they are."""
    for kind in ("strings", "int64s", "floats", "tensor"):
        found = attribute(node, f"{what}_{kind}")
        if isinstance(found, TensorProto):
            found = numpy_helper.to_array(found).reshape(-1).tolist()
        if found:
            return list(map(_plain, found))
    return None


def _plain(value: Any) -> Any:
    """Text for bytes, an int for a whole float."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return int(value) if isinstance(value, float) and value.is_integer() else value
