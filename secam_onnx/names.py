"""What begins the names of everything that this package adds to a model; here, so that it can be known without onnx."""

__all__ = ["RESERVED"]

RESERVED = "secam_"
