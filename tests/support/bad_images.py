"""Files that are no photographs, or unusual ones, by name: of the kinds that the command line's tests know."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

__all__ = ["bad", "odd"]


def bad(photo: np.ndarray) -> dict[str, tuple[bytes, str]]:
    """Each with what is said of it."""
    jpeg, png = _file(photo, "JPEG"), _file(photo, "PNG")
    return {
        "empty": (b"", "is empty"),
        "text": (b"I am no picture.\n", "not an image"),
        "html": (b"<html><img src='http://127.0.0.1/'></html>", "not an image"),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "not an image"),
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        "half JPEG": (jpeg[: len(jpeg) // 2], "cut off"),
        "half PNG": (png[: len(png) // 2], "cut off"),
        "half WebP": (_file(photo, "WEBP")[:2000], "cannot be decoded|cut off|not an image"),
        "20 bytes": (png[:20], "not an image|cannot be decoded"),
        "bomb": (_announced(60_000, 60_000), "limit"),
        "more than the limit": (_announced(1001, 1000), "1,001,000"),
        "wide bomb": (_announced(2**31 - 1, 1), "limit|image"),
        "dot": (_file(photo[:1, :1], "PNG"), "at least 4"),
        "strip": (_announced(10_000, 1), "10000 x 1"),
        "tall strip": (_file(np.zeros((500, 4, 3), np.uint8), "PNG"), "4 x 500"),
    }


def odd(photo: np.ndarray) -> dict[str, bytes]:
    """Photographs that are to be understood."""
    image = Image.fromarray(photo)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [image.rotate(angle).quantize(16) for angle in (0, 90, 180)]
    return {
        "16 bit": _file((photo[..., 1].astype(np.uint16) * 257), "PNG"),
        "CMYK": _file(image.convert("CMYK"), "JPEG"),
        "palette": _file(image.quantize(16), "PNG"),
        "grey": _file(image.convert("L"), "JPEG"),
        "alpha": _file(image.convert("RGBA"), "WEBP"),
        "animated": _file(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "turned": _file(image, "JPEG", exif=exif),
        "TIFF": _file(image, "TIFF"),
        "AVIF": _file(image, "AVIF"),
        "bytes behind the end": _file(image, "JPEG") + b"more" * 100,
    }


def _file(image: Image.Image | np.ndarray, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def _announced(width: int, height: int) -> bytes:
    """A few bytes that say they are a PNG of that size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
