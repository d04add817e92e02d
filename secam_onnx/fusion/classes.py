"""The explained classes and their probabilities, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from secam_onnx.graph.nodes import Nodes

__all__ = ["chosen_classes", "class_probabilities"]


def chosen_classes(n: Nodes, asked: str, logits: str, n_classes: int) -> str:
    """Class indices, `(N, K)` int64.

    Parameters
    ----------
    n : Nodes
        Where to write.
    asked : str
        `(N, K)` or `(1, K)` int64: class indices, or -1 for the class of the highest logit, -2 for the next one, ...
    logits : str
        `(N, classes)` float32.
    n_classes : int
        Number of classes.
    """
    # All classes are sorted: with the K of the run, some engines could not infer shapes.
    ranked = n.ops("TopK", [logits, n.integers([n_classes])], 2)[1]
    rows = n.op("Concat", [n.op("Shape", [logits], start=0, end=1), n.integers([1])], axis=0)
    asked = n.op("Expand", [asked, rows])
    rank = n.op("Max", [n.op("Sub", [n.integers(-1), asked]), n.integers(0)])
    return n.op("Where", [n.op("Less", [asked, n.integers(0)]), n.op("GatherElements", [ranked, rank], axis=1), asked])


def class_probabilities(n: Nodes, logits: str, how: str, n_classes: int) -> str:
    """`(N, classes)` float32, as `probabilities_of` gives them; NaN if there are none."""
    if how == "none" or (how == "softmax" and n_classes == 1):
        return n.op("Mul", [logits, n.floats(np.nan)])
    return n.op("Sigmoid", [logits]) if how == "sigmoid" else n.op("Softmax", [logits], axis=1)
