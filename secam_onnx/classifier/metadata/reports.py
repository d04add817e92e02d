"""What was measured at export, as the metadata keeps it; empty where nothing was."""

from __future__ import annotations

from typing import Annotated, TypedDict

from secam_onnx.schema import Finite, Within

__all__ = ["Agreement", "Completeness", "Fidelity"]

Images = Annotated[int, Within(0, 1 << 31)]


class Completeness(TypedDict, total=False):
    """How well maps, bias and logits agree."""

    max_relative_error: Finite
    attribution: str
    identity_error: Finite
    images: list[str]
    classes: Images
    tolerance: Finite


class Agreement(TypedDict, total=False):
    """How well a fused model agrees with the explainer."""

    max_relative_difference: Finite
    max_probability_difference: Finite
    images: list[str]
    classes: Images
    tolerance: Finite


class Fidelity(TypedDict, total=False):
    """How the outputs of a session compare with those of the original file."""

    max_relative_difference: Finite
    outputs: list[str]
    images: list[str]
    tolerance: Finite
