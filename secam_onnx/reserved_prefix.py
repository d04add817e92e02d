"""The prefix of all names that this package adds to a model; a module of its own, so that it is known without onnx."""

__all__ = ["RESERVED"]

RESERVED = "secam_"
