"""Data of unknown origin: JSON bounded before it is parsed, and read by the types and ranges of dataclasses."""

from secam_onnx.schema.fields import Finite, OneOf, Within
from secam_onnx.schema.json_text import LIMITS, LimitError, Limits, NotJsonError, parse_json
from secam_onnx.schema.reader import from_json
from secam_onnx.schema.text_size import measure

__all__ = [
    "LIMITS",
    "Finite",
    "LimitError",
    "Limits",
    "NotJsonError",
    "OneOf",
    "Within",
    "from_json",
    "measure",
    "parse_json",
]
