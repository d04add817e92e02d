"""How many nodes a model may have: onnx's inference takes microseconds for each, and nothing can interrupt it."""

from __future__ import annotations

from onnx import GraphProto, ModelProto

from secam_onnx.errors import ModelError

__all__ = ["MOST_NODES", "check_size"]

MOST_NODES = 100_000
"""Nodes of a model with all its subgraphs; the largest classifiers have a tenth of that."""


def check_size(model: ModelProto) -> None:
    """Refuse a model of too many nodes.

    Raises
    ------
    ModelError
        It has more than `MOST_NODES`.
    """
    count = 0
    todo: list[GraphProto] = [model.graph]
    while todo:
        graph = todo.pop()
        count += len(graph.node)
        if count > MOST_NODES:
            raise ModelError(f"The model has {count} nodes or more; at most {MOST_NODES} are accepted.")
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    todo.append(attribute.g)
                todo.extend(attribute.graphs)
