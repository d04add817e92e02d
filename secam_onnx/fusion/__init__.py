"""Fused models: network, superpixels, scores and picture spliced into one ordinary ONNX graph."""

from secam_onnx.fusion.float16 import halve_weights
from secam_onnx.fusion.fused_graph import fused_model, ready_to_fuse
from secam_onnx.fusion.options import Fusion

__all__ = ["Fusion", "fused_model", "halve_weights", "ready_to_fuse"]
