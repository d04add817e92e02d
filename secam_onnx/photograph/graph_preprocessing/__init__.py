"""What a graph does to the picture before its first layer."""

from secam_onnx.photograph.graph_preprocessing.follow import Beginning, beginning_of

__all__ = ["Beginning", "beginning_of"]
