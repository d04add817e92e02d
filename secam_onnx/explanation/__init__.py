"""The result of an explanation: its numbers, its pictures and its files."""

from secam_onnx.explanation.result import Explanation, Prediction

__all__ = ["Explanation", "Prediction"]
