"""Images in memory as rasters: arrays, and Pillow's images of any mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from secam_onnx.errors import ImageError
from secam_onnx.photograph.preprocessing_settings import MAX_CHANNELS
from secam_onnx.photograph.raster import Raster, check_size, make_raster, undecodable
from secam_onnx.photograph.tiff import PHOTOMETRIC, RANGE_TAGS, WHITE_IS_ZERO, nominal_range

__all__ = ["has_deep_colours", "raster_of", "stacked_pages", "upper_bits_do"]

_UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError)  # what Pillow's decoders raise on damaged files
_BITS, _SAMPLE_FORMAT = 258, 339
_OWN_TYPES = {("L", 2, 8): np.int8, ("I", 2, 16): np.int16, ("I", 1, 32): np.uint32}


def raster_of(
    image: Image.Image | np.ndarray, *, name: str = "the image", value_range: tuple[float, float] | None = None
) -> Raster:
    """A Pillow image, with its EXIF orientation applied, or an array as a raster.

    Parameters
    ----------
    image : Image or ndarray
        A Pillow image of any mode, or `(H, W)` or `(H, W, C)`: bool, integers, or floating point.
    name : str
        The image's name in error messages.
    value_range : (float, float), optional
        The values of black and white; optional for bool, uint8, uint16 and fractions in [0, 1].

    Raises
    ------
    ImageError
        The shape, dtype or value range is wrong, there are NaNs, or the image is too small or too thin.
    """
    if isinstance(image, Image.Image):
        return _of_pillow(image, name, value_range)
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"{name} is of type {type(image).__name__}; a path, the bytes of a file, an open file, a Pillow "
            "image or an array was expected."
        )
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.shape[2] > MAX_CHANNELS:
        raise ImageError(
            f"{name} has shape {image.shape}; (H, W) or (H, W, C) was expected, without empty axes and with at most "
            f"{MAX_CHANNELS} channels. Give one image, channels last (transpose (C, H, W))."
        )
    return make_raster(pixels, pixels.shape[2] in (2, 4), None, value_range, name)


def stacked_pages(
    image: Image.Image, name: str, max_pixels: int, value_range: tuple[float, float] | None
) -> Raster | None:
    """The pages of an open TIFF that are like the first one, as the channels of one image.

    None if it is not a TIFF, or its pages are not a stack of one channel each.
    """
    if image.format != "TIFF":
        return None
    size, mode = image.size, image.mode
    if len(image.getbands()) > 1 or mode == "P" or (count := getattr(image, "n_frames", 1)) == 1:
        return None
    if count > MAX_CHANNELS:
        raise ImageError(f"{name} has {count:,} pages; at most {MAX_CHANNELS} were expected.")
    check_size((image.height, image.width, count), name, max_pixels)
    planes = []
    for page in range(count):
        image.seek(page)
        if (image.size, image.mode) == (size, mode):
            planes.append(_of_pillow(image, name, value_range))
    doubt = planes[0].doubt if all(plane.doubt for plane in planes) else ""
    return replace(planes[0], pixels=np.concatenate([plane.pixels for plane in planes], axis=2), doubt=doubt)


def has_deep_colours(image: Image.Image) -> bool:
    """Whether this is a colour TIFF whose lower bits Pillow would drop."""
    bits = _tags(image).get(_BITS, ())
    return isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8


def upper_bits_do(image: Image.Image) -> bool:
    """Whether only Pillow unpacks these 16-bit colours, to their upper 8 bits, and no tag gives another range."""
    known = nominal_range(np.dtype(np.uint16), _tags(image))
    return image.mode == "RGB" and image.info.get("compression") in ("tiff_lzw", "packbits") and known is None


def _tags(image: Image.Image) -> dict[int, Any]:
    """Those of a TIFF's tags that are asked for; Pillow unpacks each when it is looked at."""
    tags = getattr(image, "tag_v2", {})
    return {code: tags[code] for code in (*RANGE_TAGS, PHOTOMETRIC, _SAMPLE_FORMAT) if code in tags}


def _of_pillow(image: Image.Image, name: str, value_range: tuple[float, float] | None) -> Raster:
    tags = _tags(image)
    try:
        image.load()
    except _UNDECODABLE as error:
        raise undecodable(name, error) from error
    clear = image.info.get("transparency")
    image = ImageOps.exif_transpose(image)
    own = _own_type(image.mode, tags)
    if own is not None or image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels = np.asarray(image)
        return _deep_grey(pixels if own is None else pixels.astype(own), tags, clear, value_range, name)
    if image.mode in ("RGBa", "La"):  # colours multiplied by alpha
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    pixels = np.asarray(image if image.mode in ("L", "LA", "RGB", "RGBA", "1") else image.convert("RGB"))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return make_raster(pixels, pixels.shape[2] in (2, 4), None, value_range, name)


def _own_type(mode: str, tags: Mapping[int, Any]) -> type | None:
    """The type of a grey TIFF's numbers, if Pillow has no mode for it; the bits are the same."""
    kind, bits = tags.get(_SAMPLE_FORMAT, (1,)), tags.get(_BITS, ())
    one = all(isinstance(entry, tuple) and len(entry) == 1 for entry in (kind, bits))
    return _OWN_TYPES.get((mode, kind[0], bits[0])) if one else None


def _deep_grey(
    pixels: np.ndarray, tags: Mapping[int, Any], clear: Any, value_range: tuple[float, float] | None, name: str
) -> Raster:
    """A raster of a mode whose conversion to RGB would clip at 255 instead of scaling."""
    known = nominal_range(pixels.dtype, tags)
    found = make_raster(pixels[..., None], False, known, value_range, name, file=True)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        turned = (found.black + found.white - pixels.astype(np.float64)).astype(pixels.dtype)
        found = replace(found, pixels=turned[..., None])
    if isinstance(clear, int):
        white = np.array(found.white).astype(pixels.dtype)
        found = replace(found, pixels=np.where(found.pixels == clear, white, found.pixels))
    return found
