"""Classifiers whose graph begins with preprocessing of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from tiny_models import classifier

__all__ = ["begun", "node"]


def node(kind: str, *names: str, **attributes: object) -> NodeProto:
    """A node with one output, the last name."""
    return helper.make_node(kind, list(names[:-1]), [names[-1]], **attributes)


def begun(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, np.ndarray | float] | None = None,
    shape: Sequence[int | str] = ("N", 3, 32, 32),
    dtype: int = TensorProto.FLOAT,
) -> ModelProto:
    """The tiny classifier behind some nodes that make `x` of `image`; constants that are given as float are float32."""
    model = classifier()
    model.graph.node[0].input[0] = "x"
    for place, made in enumerate(nodes):
        model.graph.node.insert(place, made)
    for name, value in (constants or {}).items():
        array = np.asarray(value)
        model.graph.initializer.append(
            numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)
        )
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", dtype, list(shape)))
    return model
