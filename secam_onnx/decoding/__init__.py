"""Decoding photographs: here, or in processes that are ended where an image takes too much time or memory."""

from secam_onnx.decoding.seen import Decode, Reading, SeenPhotograph, read_seen

__all__ = ["Decode", "Reading", "SeenPhotograph", "read_seen"]
