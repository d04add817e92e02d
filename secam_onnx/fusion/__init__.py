"""SeCAM inside the graph: network, superpixels, scores and picture spliced into one ordinary ONNX model."""

from secam_onnx.fusion.model import Fusion, fused_model, ready_to_fuse
from secam_onnx.fusion.weights import halve_weights

__all__ = ["Fusion", "fused_model", "halve_weights", "ready_to_fuse"]
