"""Label maps as PNG files of 8 bits, or of 16 where there are more than 256 labels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from secam_onnx.errors import OptionError

__all__ = ["decode_label_map", "encode_label_map"]

_LARGEST = 8192 * 8192  # pixels of a model's input


def encode_label_map(segments: np.ndarray) -> bytes:
    """Encode a label map, `(rows, columns)` integers in 0..65535, as a PNG."""
    buffer = io.BytesIO()
    # No segmenter makes more than 10,000 superpixels.
    image = Image.fromarray(segments.astype(np.uint8 if segments.max() < 1 << 8 else np.uint16))
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def decode_label_map(data: bytes) -> np.ndarray:
    """Decode a label map, which superpixel each pixel of the model's input belongs to.

    Parameters
    ----------
    data : bytes
        A PNG of 8 or 16 bits.

    Returns
    -------
    ndarray
        `(rows, columns)` int32.

    Raises
    ------
    OptionError
        It has colours, or more pixels than any input of a model.
    """
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        if image.width * image.height > _LARGEST or image.mode not in ("L", "I;16", "I"):
            raise OptionError(
                f"The label map is {image.width} x {image.height} of mode {image.mode}; 8 or 16 bits of grey, and at "
                f"most {_LARGEST:,} pixels, were expected. Give one that encode_label_map wrote."
            )
        return np.asarray(image).astype(np.int32)
