"""Superpixels of what the model sees, and the matrices that carry a map from feature cells to them."""

from secam_onnx.superpixels.label_maps import decode_label_map, encode_label_map
from secam_onnx.superpixels.pooling import bilinear_axis, pooling_matrices
from secam_onnx.superpixels.segmenters import SEGMENTERS, Segmenter, check_labels, dense_labels, segment

__all__ = [
    "SEGMENTERS",
    "Segmenter",
    "bilinear_axis",
    "check_labels",
    "decode_label_map",
    "dense_labels",
    "encode_label_map",
    "pooling_matrices",
    "segment",
]
