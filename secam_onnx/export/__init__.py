"""Export: a source gives a plain ONNX model, and one path turns it into an explainable or fused file.

Only `torchvision` and `pytorch` import PyTorch, and only the modules of Keras import Keras, when they are used.
"""

from secam_onnx.export.embed import embed
from secam_onnx.export.explainable_file import export_model, fuse
from secam_onnx.export.open_source import open_source
from secam_onnx.export.source import Source, from_onnx
from secam_onnx.export.with_classes import with_classes
from secam_onnx.export.with_texts import with_texts

__all__ = ["Source", "embed", "export_model", "from_onnx", "fuse", "open_source", "with_classes", "with_texts"]
