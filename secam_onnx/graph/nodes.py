"""Writing ONNX nodes: names are made up, so that code reads like the formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["Nodes"]


class Nodes:
    """Collects nodes and constants. All methods take and return names of tensors.

    Parameters
    ----------
    prefix : str
        The beginning of all names.

    Attributes
    ----------
    nodes : list of NodeProto
        The nodes, in the order in which they were added.
    values : list of TensorProto
        The constants.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.values: list[TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def op(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output."""
        return self.ops(op_type, inputs, 1, **attributes)[0]

    def ops(self, op_type: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        name = f"{self.prefix}{op_type}_{len(self.nodes)}"
        names = [name, *(f"{name}_{index}" for index in range(1, outputs))]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=name, **attributes))
        return names

    def integers(self, values: Any) -> str:
        """A constant int64 array; a single number has no axes."""
        return self.array(np.asarray(values, dtype=np.int64))

    def floats(self, values: Any) -> str:
        """A constant float32 array; a single number has no axes."""
        return self.array(np.asarray(values, dtype=np.float32))

    def array(self, array: np.ndarray) -> str:
        """A constant of any dtype. Equal constants are written once."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"{self.prefix}value_{len(self.values)}"
            self.values.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]
