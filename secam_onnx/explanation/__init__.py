"""The result of an explanation: its numbers, its pictures and its files."""

from secam_onnx.explanation.prediction import Prediction
from secam_onnx.explanation.result import Explanation

__all__ = ["Explanation", "Prediction"]
