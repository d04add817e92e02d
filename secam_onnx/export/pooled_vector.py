"""Nodes that make one float32 vector for each image of what an encoder gives: a vector already, tokens, or a map."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorProto

from secam_onnx.errors import OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape
from secam_onnx.graph.nodes import Nodes

__all__ = ["POOLS", "checked_pool", "pooled_length", "pooled_vector", "reduced"]

POOLS = ("class", "mean")
"""How tokens become one vector: the first of them, which is the class token, or the mean of all."""

_AXES_AS_INPUT = 18


def checked_pool(pool: str | None) -> str | None:
    """Return the value of a `pool` parameter if it is valid.

    Raises
    ------
    OptionError
        It is not one of `POOLS`.
    """
    if pool not in (None, *POOLS):
        raise OptionError(f"pool is {pool!r}; {' or '.join(POOLS)} was expected.")
    return pool


def pooled_length(shape: Shape | None, pool: str | None) -> int | None:
    """D of the vectors that a tensor of some shape gives; None if it gives none.

    Without a pool that is D of `(N, D)`, perhaps with more axes of length 1. Of tokens `(N, tokens, D)` either pool
    makes vectors, of maps `(N, D, h, w)` the mean.
    """
    if shape is None or len(shape) < 2:
        return None
    if pool is not None:
        return shape[2] if len(shape) == 3 else shape[1] if (len(shape), pool) == (4, "mean") else None
    long = [length for length in shape[1:] if length != 1]
    return (shape[1] if not long else long[0]) if len(long) <= 1 else None


def pooled_vector(n: Nodes, graph: Graph, tensor: str, pool: str | None) -> str:
    """Add the nodes; returns the tensor `(N, D)` float32."""
    rank = len(graph.shape(tensor) or ())
    vector = tensor if graph.dtype(tensor) == TensorProto.FLOAT else n.op("Cast", [tensor], to=TensorProto.FLOAT)
    if pool == "class":
        return n.op("Gather", [vector, n.integers(0)], axis=1)
    if pool == "mean":
        return reduced(n, graph, "ReduceMean", vector, (1,) if rank == 3 else (2, 3), keepdims=0)
    return vector if rank == 2 else n.op("Flatten", [vector], axis=1)


def reduced(n: Nodes, graph: Graph, op_type: str, tensor: str, axes: Sequence[int], keepdims: int) -> str:
    """A reduction over some axes, as the opset of the model writes it."""
    if graph.opset >= _AXES_AS_INPUT:
        return n.op(op_type, [tensor, n.integers(axes)], keepdims=keepdims)
    return n.op(op_type, [tensor], axes=list(axes), keepdims=keepdims)
