"""The model inside the package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["default_model"]

_DEFAULT_MODEL = "efficientnet-lite0.onnx"


def default_model() -> Path:
    """The path of the default model: EfficientNet-Lite0, ImageNet-1k."""
    package = Path(__file__).parent
    # The wheel carries it inside the package; in a checkout it lies beside it.
    installed, checkout = (folder / "models" / _DEFAULT_MODEL for folder in (package, package.parent))
    return checkout if checkout.exists() else installed
