"""Small ordinary image files of every format, with what each may have besides pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

__all__ = ["image_seeds"]


def image_seeds() -> dict[str, bytes]:
    """Files by name, `format options`."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((96, 64))
    frames = [picture.rotate(angle) for angle in (90, 180)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    exif.get_ifd(0x8769)[0x9000] = b"0230"
    exif.get_ifd(0x8825)[1] = "N"
    texts = PngInfo()
    texts.add_text("plain", "text")
    texts.add_text("packed", "text" * 100, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", "<xmp tiff:Orientation='3'/>", zip=True)
    more: dict[str, Any] = {"save_all": True, "append_images": frames}
    meta: dict[str, Any] = {"exif": exif, "icc_profile": bytes(300)}
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True, **meta}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("JPEG", "L", {"restart_marker_blocks": 2, "comment": b"words"}),
        ("JPEG", "RGB", {"progressive": True, "restart_marker_rows": 1, "subsampling": 0}),
        ("MPO", "RGB", {**more, **meta}),
        ("PNG", "RGB", {"pnginfo": texts, **meta}),
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "RGBA", more),
        ("PNG", "I;16", {}),
        ("PNG", "1", {"optimize": True}),
        ("WEBP", "RGB", {**meta, "xmp": b"<xmp/>"}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGBA", more),
        ("GIF", "P", {"interlace": 1}),
        ("GIF", "RGB", {**more, "comment": b"words", "loop": 0}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
        ("PPM", "RGB", {}),
        ("PPM", "1", {}),
        ("PPM", "I;16", {}),
        *(("TIFF", "RGB", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        *(("TIFF", "RGB", {"compression": name, "strip_size": 500}) for name in ("packbits", "zstd", "lzma")),
        *(("TIFF", "1", {"compression": name}) for name in ("group3", "group4")),
        ("TIFF", "P", meta),
        ("TIFF", "I;16", {"big_tiff": True}),
        ("TIFF", "CMYK", {}),
        ("AVIF", "RGB", {"speed": 10, **meta}),
        ("AVIF", "RGBA", {"speed": 10, "quality": 100, "subsampling": "4:4:4"}),
    ]
    found = {}
    for form, mode, options in kinds:
        buffer = io.BytesIO()
        (picture.convert("L").convert(mode) if mode == "I;16" else picture.convert(mode)).save(buffer, form, **options)
        found[f"{form} {mode} {'-'.join(options)} {options.get('compression', '')}".strip()] = buffer.getvalue()
    cube = np.dstack([np.asarray(picture.convert("L")).astype(np.uint16)] * 6)
    flat: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    for name, array, options in (
        ("bands", cube, flat),
        ("packed bands", cube, {**flat, "compression": "zlib", "predictor": True, "rowsperstrip": 9}),
        ("packed tiles", cube, {**flat, "compression": "zlib", "tile": (16, 16), "bigtiff": True}),
        ("pages", np.moveaxis(cube, 2, 0).copy(), {"photometric": "minisblack", "byteorder": ">"}),
        ("floats", (cube[..., :3] / 65535).astype(np.float32), {"photometric": "rgb", "compression": "zlib"}),
    ):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, array, **options)
        found[f"TIFF {name}"] = buffer.getvalue()
    for dtype in (np.uint8, np.float64):
        buffer = io.BytesIO()
        np.save(buffer, (np.asarray(picture) / 255).astype(dtype))
        found[f"NPY {dtype.__name__}"] = buffer.getvalue()
    found["PPM plain"] = b"P3\n# words\n9 9\n255\n" + b"1 2 3 " * 81
    found["PPM scaled"] = b"P6 9 9 200\n" + bytes(243)
    return found
