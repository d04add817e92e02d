"""The three steps of every explanation (prepare, run, finish), for one photograph and for a stream of them."""

from secam_onnx.pipeline.steps import Pipeline

__all__ = ["Pipeline"]
