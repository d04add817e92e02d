"""Making explainable models: a source gives a plain ONNX graph, one path turns it into an explainable file.

Only `torchvision` imports PyTorch, and only `keras` imports Keras, when they are used.
"""

from secam_onnx.export.explainable_file import export_model, fuse
from secam_onnx.export.open_source import open_source
from secam_onnx.export.source import Source, from_onnx

__all__ = ["Source", "export_model", "from_onnx", "fuse", "open_source"]
