"""The head of a classifier: found in the graph by rules, and turned into the contribution model."""

from secam_onnx.head.contribution import BIAS, CLASS_IDS, FEATURES, MAPS, ContributionModel, contribution_model
from secam_onnx.head.expose import expose, unexpose
from secam_onnx.head.find import RESERVED, Head, Rejection, describe, find_head
from secam_onnx.head.graph import Graph, Shape

__all__ = [
    "BIAS",
    "CLASS_IDS",
    "FEATURES",
    "MAPS",
    "RESERVED",
    "ContributionModel",
    "Graph",
    "Head",
    "Rejection",
    "Shape",
    "contribution_model",
    "describe",
    "expose",
    "find_head",
    "unexpose",
]
