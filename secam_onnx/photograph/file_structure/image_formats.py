"""The formats of image files: how they are told apart, which are read, and where others are switched on."""

from __future__ import annotations

from collections.abc import Iterable

from secam_onnx.errors import ImageError, OptionError

__all__ = ["DEFAULT_FORMATS", "FORMATS", "checked_formats", "format_of"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "NPY", "AVIF", "JPEG2000")
"""The formats that can be read, by Pillow's names, and NPY."""

DEFAULT_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "NPY", "AVIF")
"""Those that are read unless others are named. JPEG 2000 is no format of photographs, and its decoder a slow one."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG2000 = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")  # a codestream alone, a file
_TITLES = {"WEBP": "WebP", "JPEG2000": "JPEG 2000"}
_AVIF, _HEIF = (b"avif", b"avis"), (b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm")


def checked_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """Names of formats as Pillow writes them, in whatever case they are given; `all` stands for all of them.

    Raises
    ------
    OptionError
        One is no format that can be read, or there is none.
    """
    given = [formats] if isinstance(formats, str) else list(formats)
    found = [name.strip().upper().replace("JPG", "JPEG").replace("JPEG-2000", "JPEG2000") for name in given]
    found = ["TIFF" if name == "TIF" else name for name in found]
    if found == ["ALL"]:
        return FORMATS
    unknown = [name for name, known in zip(given, found, strict=True) if known not in FORMATS]
    if unknown or not found:
        what = f"has {unknown[0]!r}" if unknown else "is empty"
        raise OptionError(f"formats {what}; some of {', '.join(FORMATS)}, or all, were expected.")
    return tuple(dict.fromkeys(found))


def format_of(head: bytes, name: str, formats: tuple[str, ...]) -> str:
    """The format of a file by its first 32 bytes.

    Raises
    ------
    ImageError
        It is none that is read.
    """
    found = _format_of(head)
    if found in formats:
        return found
    if found == "HEIC":
        raise ImageError(
            f"{name} is HEIC, which is not read. Save it as JPEG, as phones do when they share a photograph, or open "
            "it in Python with pillow-heif and give the Pillow image."
        )
    if found:
        raise ImageError(
            f"{name} is of the format {found}, which is switched off. Add it to --formats (formats in Python), or save "
            "it as PNG or JPEG."
        )
    *most, last = (_TITLES.get(format_, format_) for format_ in formats)
    others = f"{', '.join(most)} and {last}" if most else last
    raise ImageError(f"{name} is not an image that can be read; {others} can be.")


def _format_of(head: bytes) -> str:
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(_TIFF):
        return "TIFF"
    if head.startswith(b"\x93NUMPY"):
        return "NPY"
    if head.startswith(_JPEG2000):
        return "JPEG2000"
    if head[4:8] == b"ftyp" and head[8:12] in (*_AVIF, *_HEIF):
        brands = {head[8:12], *(head[place : place + 4] for place in range(16, len(head) - 3, 4))}
        return "AVIF" if brands & set(_AVIF) else "HEIC"
    if head.startswith(b"BM"):
        return "BMP"
    return "PPM" if head[:1] == b"P" and head[1:2] in b"123456f" and head[1:2] else ""
