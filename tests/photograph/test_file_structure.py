"""Files are refused by what they are made of, before a decoder sees them; ordinary ones of every kind are read."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bomb_images
import numpy as np
import pytest
import skimage
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from secam_onnx.errors import ImageError, OptionError
from secam_onnx.photograph.file_structure.av1_stream import av1_pixels
from secam_onnx.photograph.file_structure.file_reader import FileReader
from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS, FORMATS, checked_formats
from secam_onnx.photograph.file_structure.read_structure import read_structure
from secam_onnx.photograph.image_files import EncodedImage, announced_pixels, read_raster

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)).resize((131, 97))
FRAMES = [PICTURE.rotate(angle) for angle in (90, 180, 270)]


def read(data: bytes, **options: Any) -> Any:
    return read_raster(EncodedImage("the file", data), **options)


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither Pillow nor tifffile opens a file."""

    def opened(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a decoder was started")

    monkeypatch.setattr(Image, "open", opened)
    monkeypatch.setattr(tifffile, "TiffFile", opened)


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("name", bomb_images.BOMBS)
def test_bombs_are_refused_before_a_decoder_starts(name: str, tmp_path: Path) -> None:
    data = bomb_images.BOMBS[name]()
    (tmp_path / "image").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"has more than|would take minutes|larger than the file") as caught:
            read(data)
        assert announced_pixels(EncodedImage("the file", data)) == 0
        with pytest.raises(ImageError) as from_path:
            read_raster(tmp_path / "image")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith("the file ")
    assert str(from_path.value).removeprefix(str(tmp_path / "image")) == str(caught.value).removeprefix("the file")


@pytest.mark.usefixtures("no_decoder")
def test_pages_beyond_the_most_channels_are_refused_where_they_are_channels() -> None:
    data = bomb_images.pages_bomb()
    with pytest.raises(ImageError, match="more than 512 pages"):
        read(data, stack=True)


def test_a_profile_that_unpacks_to_100_megabytes_is_not_unpacked() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="too large"):
            read(bomb_images.icc_bomb())
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_of_many_pages_the_first_is_read() -> None:
    assert read(bomb_images.pages_bomb()).pixels.shape == (48, 64, 1)


def test_a_file_within_the_limits_is_read() -> None:
    assert read(bomb_images.slow_but_allowed(700)).pixels.shape == (700, 700, 3)


EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010E] = 6, "words " * 30
EXIF.get_ifd(0x8769)[0x9000] = b"0230"
EXIF.get_ifd(0x8825)[1] = "N"
TEXTS = PngInfo()
TEXTS.add_text("plain", "text" * 1000)
TEXTS.add_text("packed", "text" * 10_000, zip=True)
TEXTS.add_itxt("XML:com.adobe.xmp", "<xmp/>" * 100, zip=True)
MORE = {"save_all": True, "append_images": FRAMES}
META = {"exif": EXIF, "icc_profile": bytes(300_000)}

ORDINARY: dict[str, tuple[str, list[str], list[dict[str, Any]]]] = {  # format, modes, options
    "JPEG": (
        "JPEG",
        ["RGB", "L", "CMYK"],
        [
            {},
            {"progressive": True},
            {"progressive": True, "quality": 100, "subsampling": 0},
            {"optimize": True, "subsampling": 1},
            {"restart_marker_blocks": 1},
            {"progressive": True, "restart_marker_rows": 1},
            {"comment": b"c" * 60_000, **META},
            {"keep_rgb": True},
        ],
    ),
    "MPO": ("MPO", ["RGB"], [MORE, {**MORE, **META}]),
    "PNG": (
        "PNG",
        ["RGB", "L", "1", "RGBA", "LA", "I;16"],
        [{}, {"optimize": True}, {"pnginfo": TEXTS}, META, MORE, {**MORE, "default_image": True}],
    ),
    "PNG of a palette": ("PNG", ["P"], [{}, {"optimize": True}, META]),
    "WebP": ("WEBP", ["RGB", "RGBA"], [{}, {"lossless": True}, {**META, "xmp": b"<xmp/>"}, MORE]),
    "GIF": ("GIF", ["RGB", "L", "P"], [{}, {"interlace": 0}, {**MORE, "loop": 0, "comment": b"c" * 3000}]),
    "BMP": ("BMP", ["RGB", "L", "1", "P", "RGBA"], [{}]),
    "PPM": ("PPM", ["RGB", "L", "1", "I;16"], [{}]),
    "TIFF": (
        "TIFF",
        ["RGB", "L", "1", "P", "RGBA", "CMYK", "I;16"],
        [
            {},
            *({"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma")),
            {"big_tiff": True},
            META,
            {"strip_size": 1},
        ],
    ),
    "TIFF of photographs": ("TIFF", ["RGB", "L"], [{"compression": "jpeg"}]),
    "TIFF of two colours": ("TIFF", ["1"], [{"compression": name} for name in ("group3", "group4", "tiff_ccitt")]),
    "AVIF": ("AVIF", ["RGB", "RGBA", "L"], [{}, {"quality": 100, "subsampling": "4:4:4"}, META, {"tile_cols": 1}]),
    "JPEG 2000": (
        "JPEG2000",
        ["RGB", "L", "RGBA"],
        [
            {},
            {"irreversible": True},
            {"tile_size": (64, 64)},
            {"quality_layers": [20, 5]},
            {"no_jp2": True},
            {"codeblock_size": (32, 32), "precinct_size": (64, 64)},
        ],
    ),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_what_pillow_writes_is_read(kind: str) -> None:
    form, modes, all_options = ORDINARY[kind]
    for mode in modes:
        for options in all_options:
            buffer = io.BytesIO()
            picture = PICTURE.convert("L").convert(mode) if mode == "I;16" else PICTURE.convert(mode)
            picture.save(buffer, form, **options)
            found = read_structure(buffer, "the file", formats=FORMATS)
            assert (found.width, found.height) == PICTURE.size, (mode, options)
            assert read(buffer.getvalue(), formats=FORMATS).pixels.shape[0] in PICTURE.size, (mode, options)
            assert announced_pixels(EncodedImage("the file", buffer.getvalue())) == 131 * 97


TIFFS: list[dict[str, Any]] = [
    {"tile": (16, 16)},
    {"tile": (256, 256), "compression": "zlib"},
    {"bigtiff": True, "byteorder": ">"},
    {"rowsperstrip": 1},
    {"compression": "zlib", "predictor": True},
    {"imagej": True},
    {"ome": True},
]


@pytest.mark.parametrize("options", TIFFS, ids=str)
def test_what_tifffile_writes_is_read(options: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.asarray(PICTURE), photometric="rgb", **options)
    np.testing.assert_array_equal(read(buffer.getvalue()).pixels, np.asarray(PICTURE))


def test_pictures_that_come_with_scikit_image_are_read() -> None:
    files = [
        file
        for file in Path(skimage.__file__).parent.joinpath("data").iterdir()
        if file.suffix in (".jpg", ".jpeg", ".png", ".gif", ".tif", ".tiff", ".bmp")
    ]
    for file in files:
        found = read_raster(file)
        assert announced_pixels(EncodedImage("the file", file.read_bytes())) == np.prod(found.pixels.shape[:2])


def test_a_damaged_tag_of_exif_is_no_reason_to_refuse_a_photograph() -> None:
    exif = b"Exif\0\0II*\0" + struct.pack("<LH", 8, 2)
    exif += struct.pack("<HHLL", 0x0112, 3, 1, 6) + struct.pack("<HHLL", 0x927C, 7, 2**32 - 1, 50) + bytes(4)
    buffer = io.BytesIO()
    PICTURE.save(buffer, "JPEG", exif=exif)
    assert read(buffer.getvalue()).pixels.shape == (131, 97, 3)  # turned


def frame(marker: int, bits: int = 8, height: int = 48) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        place = data.index(b"\xff\xc0")
        return data[:place] + struct.pack(">BBHBH", 0xFF, marker, 17, bits, height) + data[place + 7 :]

    return change


RARE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "arithmetic coding": (frame(0xC9), "of arithmetic coding"),
    "lossless": (frame(0xC3), "a lossless JPEG"),
    "hierarchical": (frame(0xC5), "a hierarchical JPEG"),
    "12 bits": (frame(0xC1, 12), "a JPEG of 12 bits"),
    "height at the end": (frame(0xC0, height=0), "does not say its size"),
    "two frames": (
        lambda data: data.replace(b"\xff\xc4", data[data.index(b"\xff\xc0") :][:19] + b"\xff\xc4", 1),
        "frames",
    ),
}


@pytest.mark.parametrize(("change", "message"), RARE.values(), ids=RARE)
def test_rare_kinds_of_jpeg_are_named(change: Callable[[bytes], bytes], message: str) -> None:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "JPEG")
    with pytest.raises(ImageError, match=message):
        read(change(buffer.getvalue()))


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L4s", len(body) + 8, kind) + body


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix"])
def test_heic_is_named(brand: bytes) -> None:
    with pytest.raises(ImageError, match=r"HEIC, which is not read.*JPEG.*pillow-heif"):
        read(box(b"ftyp", brand + bytes(4) + b"mif1heic") + box(b"meta", bytes(100)))


def test_formats_that_are_off_are_named_with_the_option() -> None:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "JPEG2000")
    with pytest.raises(ImageError, match=r"format JPEG2000, which is switched off.*--formats"):
        read(buffer.getvalue())
    assert read(buffer.getvalue(), formats=checked_formats(["jpeg2000"])).pixels.shape == (97, 131, 3)
    buffer = io.BytesIO()
    PICTURE.save(buffer, "GIF")
    with pytest.raises(ImageError, match="format GIF, which is switched off"):
        read(buffer.getvalue(), formats=("PNG",))


def test_names_of_formats() -> None:
    assert checked_formats(["jpg", "Png", "tif"]) == ("JPEG", "PNG", "TIFF")
    assert checked_formats("PNG") == ("PNG",)
    assert checked_formats(["all"]) == FORMATS
    assert set(DEFAULT_FORMATS) < set(FORMATS)
    with pytest.raises(OptionError, match="'pdf'; some of JPEG, PNG"):
        checked_formats(["png", "pdf"])
    with pytest.raises(OptionError, match="empty"):
        checked_formats([])


def test_a_file_is_opened_as_what_it_was_checked_as(monkeypatch: pytest.MonkeyPatch) -> None:
    formats = []
    original = Image.open
    monkeypatch.setattr(
        Image, "open", lambda *a, **options: formats.append(options["formats"]) or original(*a, **options)
    )
    for form in ("JPEG", "PNG", "TIFF"):
        buffer = io.BytesIO()
        PICTURE.save(buffer, form)
        read(buffer.getvalue())
    assert formats == [("JPEG",), ("PNG",), ("TIFF",)]


def test_wide_values_count_as_bytes() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((40, 40, 3)))
    assert read(buffer.getvalue(), max_pixels=3200).channels == 3
    with pytest.raises(ImageError, match=r"38,400 bytes of values .*over the limit of 38,388"):
        read(buffer.getvalue(), max_pixels=3199)


def saved(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, form, **options)
    return buffer.getvalue()


def test_an_animated_avif_is_named() -> None:
    with pytest.raises(ImageError, match="is an animated AVIF"):
        read(saved("AVIF", save_all=True, append_images=FRAMES, speed=10))


def test_pictures_of_av1_that_are_not_shown_count() -> None:
    data = saved("AVIF", speed=10)
    stream = data[data.index(b"mdat") + 4 :]
    reader = FileReader.of_bytes(data, "the file")
    assert av1_pixels(reader, stream) == 131 * 97
    with pytest.raises(ImageError, match="more than 4 pictures"):
        av1_pixels(reader, stream * 5)
    with pytest.raises(ImageError, match="damaged, or cut off"):
        av1_pixels(reader, bytes([0x0A, 100, 0x03]) + b"\xff" * 200)  # a header without an end


def at(data: bytes, mark: bytes, offset: int, form: str, *values: int) -> bytes:
    """The file with other numbers so many bytes behind a mark."""
    place = data.index(mark) + offset
    return data[:place] + struct.pack(form, *values) + data[place + struct.calcsize(form) :]


def own_tiff(**changed: list[int]) -> bytes:
    """A grey TIFF with other tags than it should have, by their numbers."""
    tags = {256: [64], 257: [48], 258: [8], 259: [1], 262: [1], 277: [1], 273: [8], 278: [48], 279: [3072]}
    tags |= {int(code.removeprefix("_")): value for code, value in changed.items()}
    return bomb_images.tiff_of({code: (4, value) for code, value in tags.items() if value}, bytes(3072))


J2K = saved("JPEG2000", no_jp2=True)


def png_chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


SEGMENTS = b"\xff\xe5\0\2" * 15_000
JPEG, PNG, GIF = saved("JPEG"), saved("PNG"), saved("GIF")
TWICE = png_chunk(b"acTL", struct.pack(">LL", 3, 0)) * 2
DIFFERENT: dict[str, tuple[bytes, str]] = {  # what a decoder may see in a file and another reader may not
    "segments inside a segment": (JPEG[:2] + (b"\xff\xf0\xea\x62" + SEGMENTS) * 9 + JPEG[2:], "rare kind F0"),
    "segments behind the end": (JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9" + SEGMENTS * 9, "damaged, or cut off"),
    "a second header": (
        PNG[:33] + png_chunk(b"IHDR", struct.pack(">LLBBBBB", 9000, 9000, 8, 2, 0, 0, 0)) + PNG[33:],
        "two",
    ),
    "chunks behind frames that do not count": (
        PNG[:33] + TWICE + PNG[33:-12] + png_chunk(b"fcTL", bytes(26)) + png_chunk(b"teSt") * 9000,
        "more than 2,000 chunks",
    ),
    "comments behind an empty block": (
        GIF[: GIF.index(b",\0\0\0\0")] + b"!\1\0" + b"\1a" * 90_000 + b"\0" + GIF[GIF.index(b",\0\0\0\0") :],
        "more than 20,000 blocks",
    ),
    "a tag twice": (
        bomb_images.tiff_of({256: (4, [64]), 257: (4, [64])}).replace(
            struct.pack("<HHL", 257, 4, 1), struct.pack("<HHL", 256, 4, 1)
        ),
        "tag 256 twice",
    ),
}


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(("data", "message"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_decoders_see_is_counted(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(data)


def test_a_big_endian_bigtiff_is_no_matter_for_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.asarray(PICTURE), photometric="rgb", bigtiff=True, byteorder=">")
    monkeypatch.setattr(Image, "open", None)
    np.testing.assert_array_equal(read(buffer.getvalue()).pixels, np.asarray(PICTURE))


WIDE = at(at(J2K, b"\xff\x51", 6, ">LL", 2000, 2000), b"\xff\x51", 22, ">LL", 2000, 2000)
PARTS: dict[str, tuple[bytes, str]] = {
    "tiles of JPEG 2000": (at(J2K, b"\xff\x51", 22, ">LL", 1, 1), "more than 1,024 tiles"),
    "layers": (at(J2K, b"\xff\x52", 6, ">H", 65_535), "more than 64 layers"),
    "blocks of 4 x 4": (at(WIDE, b"\xff\x52", 10, ">BB", 0, 0), "blocks of code"),
    "precincts": (at(at(WIDE, b"\xff\x52", 4, ">B", 1), b"\xff\x52", 14, ">6B", *[0x11] * 6), "packets"),
    "a huge tile": (own_tiff(_322=[65_536], _323=[65_536], _324=[8], _325=[3072]), "pixels in a tile"),
    "strips that share bytes": (own_tiff(_278=[1], _273=[8] * 48, _279=[3072] * 48), "several share their bytes"),
    "many strips": (own_tiff(_273=[8] * 70_000, _279=[1] * 70_000), "strips or tiles|values of tag 273"),
    "another compression": (own_tiff(_259=[50_001]), "compressed by WebP"),
    "no size": (own_tiff(_256=[]), "damaged, or cut off"),
    "GIF whose frame is larger": (at(saved("GIF"), b",\0\0\0\0", 5, "<HH", 60_000, 60_000), "over the limit"),
    "NPY of a long header": (b"\x93NUMPY\2\0" + struct.pack("<L", 1 << 30) + bytes(64), "10,000 bytes of header"),
    "PPM of a rare kind": (b"PyRGBA\n9 9\n255\n" + bytes(400), "not an image"),
    "comments in digits": (b"P2 90 90 255\n" + b"#\n" * 2000 + b"1 " * 8100, "more than 1,000 comments"),
}


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(("data", "message"), PARTS.values(), ids=PARTS)
def test_what_a_file_is_made_of_is_bounded(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(data, formats=FORMATS)


def test_exif_in_a_text_is_bounded_as_well() -> None:
    webp = bomb_images.exif_bomb(3000, 60_000)
    exif = webp[webp.index(b"II*\0") :]
    texts = PngInfo()
    texts.add_text("Raw profile type exif", f"\nexif\n{len(exif)}\n{exif.hex()}\n", zip=True)
    with pytest.raises(ImageError, match=r"more than 1,000 tags|larger than the file"):
        read(saved("PNG", pnginfo=texts))


def test_the_reference_has_the_limits() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "image-limits.md").read_text(encoding="utf-8")
    for name in FORMATS:
        assert name.replace("WEBP", "WebP").replace("JPEG2000", "JPEG 2000") in page


class FailingFile(io.FileIO):
    """A file on a disk that has gone."""

    def read(self, *_: object) -> bytes:
        raise OSError(116, "Stale file handle")


def test_errors_of_the_disk_are_errors_of_the_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(saved("PNG"))
    monkeypatch.setattr("secam_onnx.photograph.image_files.open_regular", FailingFile)
    with pytest.raises(ImageError, match=r"image\.png cannot be decoded .*Stale file handle"):
        read_raster(tmp_path / "image.png")
