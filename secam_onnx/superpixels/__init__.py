"""Superpixels of what the model sees, and the matrices that carry a map from feature cells to them."""

from secam_onnx.superpixels.label_maps import decode_label_map, encode_label_map
from secam_onnx.superpixels.pooling import bilinear_axis, pooling_matrices
from secam_onnx.superpixels.segmenters import SEGMENTERS, Segmenter, check_label_map, dense_label_map, segment

__all__ = [
    "SEGMENTERS",
    "Segmenter",
    "bilinear_axis",
    "check_label_map",
    "decode_label_map",
    "dense_label_map",
    "encode_label_map",
    "pooling_matrices",
    "segment",
]
