"""What a decoder answers. Nothing of it is trusted: a decoder may have been taken over by its image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from secam_onnx.decoding.messages import Channel, MessageError
from secam_onnx.decoding.seen import Reading, SeenPhotograph
from secam_onnx.photograph.geometry import Geometry

__all__ = ["LONGEST", "read_answer"]

LONGEST = 1000
"""Characters of a text."""


def read_answer(of: Channel, said: Mapping[str, Any], how: Reading, until: float) -> SeenPhotograph:
    """Receive the pictures that a message announces, if they are what was asked for.

    Raises
    ------
    MessageError
        They are not.
    EOFError, OSError
        See `Channel.receive`.
    """
    try:
        shapes = {str(name): tuple(shape) for name, shape in said["shapes"].items()}
        height, width = map(int, said["geometry"]["image_size"])
        left, top, right, bottom = map(float, said["geometry"]["box"])
        source = {str(name): value for name, value in said["source"].items() if isinstance(value, str | int | float)}
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise MessageError(f"an answer that cannot be understood ({error})") from error
    rows, columns = how.preprocessing.size
    if min(height, width) < 1 or height * width > how.max_pixels or not np.isfinite([left, top, right, bottom]).all():
        raise MessageError("a picture of a size that cannot be")
    expected = {"seen": (rows, columns, 3), **({"shown": (height, width, 3)} if how.keep_image else {})}
    optional = {"values": (rows, columns, how.preprocessing.n_channels)}
    if not expected.items() <= shapes.items() <= (expected | optional).items():
        raise MessageError("pictures that were not asked for")
    arrays = {name: np.empty(shape, np.float32 if name == "values" else np.uint8) for name, shape in shapes.items()}
    for array in arrays.values():
        of.receive_into(array.data, until)
    return SeenPhotograph(
        arrays.get("shown"),
        arrays["seen"],
        arrays.get("values"),
        Geometry((height, width), (rows, columns), (left, top, right, bottom)),
        {name: value[:LONGEST] if isinstance(value, str) else value for name, value in source.items()},
    )
