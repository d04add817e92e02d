"""Runs nodes that the package writes, in a session of their own."""

from __future__ import annotations

import numpy as np
from onnx import helper

from secam_onnx import runtime
from secam_onnx.graph.nodes import Nodes

__all__ = ["evaluate"]


def evaluate(n: Nodes, result: str, **inputs: np.ndarray) -> np.ndarray:
    """Run nodes in a session of their own."""
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    wanted = [helper.make_empty_tensor_value_info(result)]
    graph = helper.make_graph(n.nodes, "nodes", given, wanted, n.values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return runtime.open_session(model.SerializeToString(), "cpu").run(None, inputs)[0]
