"""The head of a classifier: rules find it in the graph, and the contribution model is derived from it."""

from secam_onnx.head.contribution import (
    BIAS,
    CAM,
    CLASS_IDS,
    FEATURES,
    GAP,
    LOGIT_IDS,
    PARTS,
    ROUNDING,
    ContributionModel,
    contribution_model,
    features_name,
    own_layout,
)
from secam_onnx.head.expose import OWN_LAYOUT, expose, unexpose
from secam_onnx.head.find import find_head, find_heads
from secam_onnx.head.found_head import Head
from secam_onnx.head.grid import Grid
from secam_onnx.head.layer_split import TERMS, layer_to_split, split_layer, with_split_layer
from secam_onnx.head.masking import each_cell
from secam_onnx.head.outputs.class_output import BINARY, ClassOutput, activation_elsewhere
from secam_onnx.head.walk import Rejection

__all__ = [
    "BIAS",
    "BINARY",
    "CAM",
    "CLASS_IDS",
    "FEATURES",
    "GAP",
    "LOGIT_IDS",
    "OWN_LAYOUT",
    "PARTS",
    "ROUNDING",
    "TERMS",
    "ClassOutput",
    "ContributionModel",
    "Grid",
    "Head",
    "Rejection",
    "activation_elsewhere",
    "contribution_model",
    "each_cell",
    "expose",
    "features_name",
    "find_head",
    "find_heads",
    "layer_to_split",
    "own_layout",
    "split_layer",
    "unexpose",
    "with_split_layer",
]
