"""Files of any number of channels and bits, and what black and white are in them."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from secam_onnx.errors import ImageError
from secam_onnx.photograph.image_files import EncodedImage, read_raster
from secam_onnx.photograph.images import announced_pixels
from secam_onnx.photograph.memory_images import raster_of

CUBE = np.random.default_rng(0).integers(0, 65536, (9, 14, 12)).astype(np.uint16)
GREY = np.random.default_rng(1).integers(0, 4096, (9, 14)).astype(np.uint16)
BLACK = {"photometric": "minisblack"}
MAX_SAMPLE, S_MIN, S_MAX = 281, 340, 341


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def npy(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def read(data: bytes, **options: Any) -> Any:
    return read_raster(EncodedImage("the file", data), **options)


def pages(*planes: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    first, *rest = map(Image.fromarray, planes)
    first.save(buffer, "TIFF", save_all=True, append_images=rest, **options)
    return buffer.getvalue()


CUBES = {
    "bands side by side": tiff(CUBE, planarconfig="contig", **BLACK),
    "bands one after the other": tiff(np.moveaxis(CUBE, 2, 0).copy(), planarconfig="separate", **BLACK),
    "a stack of pages": tiff(np.moveaxis(CUBE, 2, 0).copy(), **BLACK),
    "packed": tiff(CUBE, planarconfig="contig", compression="zlib", predictor=True, rowsperstrip=4, **BLACK),
    "packed tiles": tiff(CUBE, planarconfig="contig", compression="zlib", tile=(16, 16), **BLACK),
    "64 bits of offsets, the other byte order": tiff(CUBE, planarconfig="contig", bigtiff=True, byteorder=">", **BLACK),
    "a stack, packed as only Pillow can": pages(*np.moveaxis(CUBE, 2, 0), compression="tiff_lzw"),
    "NPY": npy(CUBE),
    "NPY, by columns": npy(np.asfortranarray(CUBE)),
    "NPY, the other byte order": npy(CUBE.astype(">u2")),
}


@pytest.mark.parametrize("data", CUBES.values(), ids=CUBES)
def test_all_channels_are_read(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(data)
    for found in (read(data, stack=True), read_raster(tmp_path / "image", stack=True)):
        np.testing.assert_array_equal(found.pixels, CUBE)
        assert (found.black, found.white, found.alpha, found.doubt) == (0, 65535, False, "")


def test_of_a_stack_that_is_no_image_the_first_page_counts() -> None:
    found = read(CUBES["a stack of pages"])
    np.testing.assert_array_equal(found.pixels, CUBE[..., :1])


@pytest.mark.parametrize("bits", [16, 32])
def test_colours_keep_their_lower_bits(bits: int) -> None:
    pixels = CUBE[..., :3] if bits == 16 else (CUBE[..., :3] / 65535).astype(np.float32)
    found = read(tiff(pixels, photometric="rgb"))
    np.testing.assert_array_equal(found.pixels, pixels)


@pytest.mark.parametrize(
    ("extra", "alpha"), [("unassalpha", True), ("unspecified", False)], ids=["alpha", "near infrared"]
)
def test_what_the_fourth_channel_is(extra: str, alpha: bool) -> None:
    found = read(tiff(CUBE[..., :4], photometric="rgb", planarconfig="contig", extrasamples=[extra]))
    assert (found.channels, found.alpha) == (4, alpha)


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation(orientation: int) -> None:
    data = tiff(CUBE, planarconfig="contig", extratags=[(274, 3, 1, orientation, True)], **BLACK)
    np.testing.assert_array_equal(read(data).pixels, UPRIGHT[orientation](CUBE))


RANGES = {  # a file: black and white, whether that is in doubt
    "16 bits in use": (tiff(CUBE[..., 0], **BLACK), (0, 65535), False),
    "12 bits of 16": (tiff(GREY, **BLACK), (0, 65535), True),
    "12 bits of 16, told": (tiff(GREY, extratags=[(MAX_SAMPLE, 3, 1, 4095, True)], **BLACK), (0, 4095), False),
    "12 bits of 16, the highest told": (
        tiff(GREY, extratags=[(MAX_SAMPLE, 3, 1, 3012, True)], **BLACK),
        (0, 4095),
        False,
    ),
    "12 bits of 16 in colours": (tiff(CUBE[..., :3] >> 4, photometric="rgb"), (0, 65535), True),
    "a photograph in 32 bits": (tiff((GREY % 195).astype(np.int32), **BLACK), (0, 65535), True),
    "a photograph in 32 bits, told": (
        tiff((GREY % 195).astype(np.int32), extratags=[(MAX_SAMPLE, 3, 1, 194, True)], **BLACK),
        (0, 255),
        False,
    ),
    "fractions": (tiff((GREY / 4095).astype(np.float32), **BLACK), (0, 1), False),
    "kelvin": (
        tiff(
            (GREY / 16 + 200).astype(np.float32), extratags=[(S_MIN, 11, 1, 200.0, True), (S_MAX, 11, 1, 456.0, True)]
        ),
        (200, 456),
        False,
    ),
    "PNG of 16 bits": (None, (0, 65535), False),
    "8 bits": (tiff((GREY >> 4).astype(np.uint8), **BLACK), (0, 255), False),
}


@pytest.mark.parametrize(("data", "expected", "doubt"), RANGES.values(), ids=RANGES)
def test_what_black_and_white_are(data: bytes | None, expected: tuple[float, float], doubt: bool) -> None:
    if data is None:
        buffer = io.BytesIO()
        Image.fromarray(CUBE[..., 0]).save(buffer, "PNG")
        data = buffer.getvalue()
    found = read(data)
    assert (found.black, found.white) == expected
    assert bool(found.doubt) == doubt
    assert not doubt or "--value-range" in found.doubt
    asked = read(data, value_range=(-10, 5000))
    assert (asked.black, asked.white) == (-10, 5000)


OUTSIDE, BLACK_ALONE = "outside 0..255, the range that was given", "lowest sixteenth of 0..10000, the range that was"
FITS = {
    "fractions in thousands": ((GREY / 4095).astype(np.float32), (0, 10_000), BLACK_ALONE),
    "bytes in thousands": ((GREY >> 4).astype(np.uint8), (0, 10_000), BLACK_ALONE),
    "12 bits in bytes": (GREY, (0, 255), OUTSIDE),
    "below it": (GREY.astype(np.float32) - 5000, (0, 255), OUTSIDE),
    "12 bits": (GREY, (0, 4095), ""),
    "a dark scene": ((GREY // 4).astype(np.uint16), (0, 10_000), ""),
    "a few beyond": (GREY, (200, 3900), ""),
    "nothing but black": (np.zeros((9, 14), np.uint16), (0, 10_000), ""),
    "beside its opacity": (np.dstack([GREY, GREY * 0 + 65535]), (0, 4095), ""),
    "a photograph": (np.dstack([(GREY >> 4).astype(np.uint8)] * 3), (0, 255), ""),
}


@pytest.mark.parametrize(("pixels", "asked", "doubt"), FITS.values(), ids=FITS)
def test_a_range_that_was_given_and_does_not_fit_is_doubted(
    pixels: np.ndarray, asked: tuple[float, float], doubt: str
) -> None:
    for found in (raster_of(pixels, value_range=asked), read(npy(pixels), value_range=asked)):
        assert (found.black, found.white) == asked
        assert doubt in found.doubt
        assert bool(found.doubt) == bool(doubt)
        assert not doubt or "--value-range" in found.doubt


NUMBERS = np.random.default_rng(2).integers(0, 2**32, (9, 14)).astype(np.uint32)


def written(pixels: np.ndarray, how: str) -> bytes:
    if how == "two pages":
        return tiff(np.stack([pixels, pixels]), **BLACK)
    if how == "big-endian":
        return tiff(pixels, byteorder=">", **BLACK)
    return tiff(pixels, compression=None if how == "plain" else "zlib", **BLACK)


@pytest.mark.parametrize("how", ["plain", "packed", "big-endian", "two pages"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32])
def test_one_channel_keeps_the_numbers_and_the_type_that_were_written(dtype: type, how: str) -> None:
    pixels = NUMBERS.astype(dtype)
    stack = how == "two pages"
    found = read(written(pixels, how), value_range=(0, 1), stack=stack)
    assert found.pixels.dtype == dtype
    assert found.channels == 1 + stack
    for channel in range(found.channels):
        np.testing.assert_array_equal(found.pixels[..., channel], pixels)
    ends = (-128, 127) if dtype == np.int8 else (0, 2**32 - 1)
    values = read(written(pixels, how), value_range=ends).values()
    np.testing.assert_array_equal(values, read(npy(pixels), value_range=ends).values())


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
@pytest.mark.parametrize("channels", [1, 3])
def test_whole_numbers_that_say_no_range_are_called_as_they_are(dtype: type, channels: int) -> None:
    pixels = NUMBERS.astype(dtype)
    if channels == 3:
        pixels = np.dstack([pixels] * 3)
    with pytest.raises(ImageError, match=f"dtype {np.dtype(dtype)};.*--value-range"):
        read(tiff(pixels, **(BLACK if channels == 1 else {"photometric": "rgb"})))
    with pytest.raises(ImageError, match=r"dtype int8;.*values are 0 to 1\."):
        read(tiff(np.eye(9, dtype=np.int8), **BLACK))


def test_the_highest_value_of_unsigned_32_bits() -> None:
    found = read(tiff(NUMBERS, extratags=[(MAX_SAMPLE, 4, 1, 2**32 - 1, True)], **BLACK))
    assert (found.black, found.white) == (0, 2**32 - 1)
    np.testing.assert_allclose(found.values()[..., 0], NUMBERS / (2**32 - 1) * 255, rtol=1e-6)


@pytest.mark.parametrize("deep", [False, True])
def test_where_white_is_zero_it_is_turned(deep: bool) -> None:
    pixels = CUBE[..., 0] if deep else (CUBE[..., 0] >> 8).astype(np.uint8)
    turned = read(tiff(pixels, photometric="miniswhite"))
    np.testing.assert_array_equal(turned.pixels[..., 0], (65535 if deep else 255) - pixels)


DTYPES = (np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.float16, np.float32, np.float64)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(DTYPES), st.integers(1, 5))
def test_values_follow_a_line(data: st.DataObject, dtype: type, channels: int) -> None:
    low, high = data.draw(st.integers(-300, 300)), data.draw(st.integers(301, 4000))
    if np.dtype(dtype).kind == "f":
        elements: Any = st.floats(-1000, 1000, width=np.dtype(dtype).itemsize * 8)
    else:
        info = np.iinfo(dtype)
        elements = st.integers(max(info.min, -30_000), min(info.max, 30_000))
    shape = data.draw(st.tuples(st.integers(4, 9), st.integers(4, 9), st.just(channels)))
    pixels = data.draw(arrays.arrays(dtype, shape, elements=elements))
    found = raster_of(pixels, value_range=(low, high))
    exact = (pixels.astype(np.float64) - low) * 255 / (high - low)
    assert found.values().dtype == np.float32
    np.testing.assert_allclose(found.values(), exact, rtol=1e-5, atol=2e-3)
    assert found.bytes().dtype == np.uint8
    assert np.abs(found.bytes() - np.clip(exact, 0, 255)).max() <= 0.5 + 2e-3
    np.testing.assert_array_equal(found.pixels, pixels)


def by_hand(data: bytes, **tags: int) -> bytes:
    """A TIFF whose tags say something else than what is in it."""
    buffer = io.BytesIO(data)
    with tifffile.TiffFile(buffer, mode="r+b") as opened:
        for name, value in tags.items():
            opened.pages[0].tags[name].overwrite(value)
        return buffer.getvalue()


PACKED = tiff(np.zeros((64, 64, 12), np.uint16), planarconfig="contig", compression="zlib", **BLACK)
FLAT = {"planarconfig": "contig", **BLACK}
HUGE = (
    b"\x93NUMPY\x01\x00"
    + struct.pack("<H", 118)
    + b"{'descr': '|u1', 'fortran_order': False, 'shape': (90000, 90000), }".ljust(117)
    + b"\n"
)
BAD = {
    "NaN": (tiff(np.full((9, 9), np.nan, np.float32)), "the file holds NaN or infinity"),
    "float beyond 1": (tiff(np.full((9, 9), 1.5, np.float32)), r"values from 1.5 to 1.5.*\[0, 1\].*--value-range"),
    "negative": (tiff(np.full((9, 9), -5, np.int16)), "the file has dtype int.*-5 to -5.*--value-range"),
    "NPY of int16": (npy(np.full((9, 9), 5, np.int16)), "dtype int16.*5 to 5.*--value-range"),
    "NPY of objects": (npy(np.array([[None] * 9] * 9)), "an image .* of numbers"),
    "NPY of words": (npy(np.array([["ab"] * 9] * 9)), "dtype <U2"),
    "NPY of complex numbers": (npy(np.zeros((9, 9), complex)), "dtype complex128"),
    "NPY of one number": (npy(np.array(3)), r"shape \(\)"),
    "NPY of a batch": (npy(np.zeros((1, 3, 9, 9), np.uint8)), r"shape \(1, 3, 9, 9\)"),
    "NPY without rows": (npy(np.zeros((0, 9), np.uint8)), r"shape \(0, 9\)"),
    "NPY cut off": (npy(CUBE)[:-20], "cannot be decoded"),
    "NPY, header cut off": (npy(CUBE)[:40], "cannot be decoded"),
    "NPY that says it is huge": (HUGE, "8,100,000,000 pixels .*over the limit"),
    "TIFF cut off": (tiff(CUBE, **FLAT)[:-3000], "cannot be decoded"),
    "TIFF that unpacks to more": (by_hand(PACKED, ImageLength=8), "unpacks to more"),
    "TIFF that says it is huge": (by_hand(PACKED, ImageLength=60_000, ImageWidth=60_000), "over the limit"),
    "thin": (tiff(np.zeros((4, 300, 12), np.uint8), **FLAT), "300 x 4 pixels"),
    "too many channels": (npy(np.zeros((9, 9, 513), np.uint8)), "at most 512"),
    "too many bands": (tiff(np.zeros((9, 9, 513), np.uint8), **FLAT), "at most 512"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        read(data, stack=True)
    assert "the file" in str(caught.value)


def test_the_limit_of_pixels_counts_channels() -> None:
    data = CUBES["NPY"]
    assert read(data, max_pixels=9 * 14 * 4).channels == 12
    for name in ("NPY", "bands side by side", "a stack of pages"):
        with pytest.raises(ImageError, match=r"126 pixels \(14 x 9 x 12 channels\), over the limit of 503"):
            read(CUBES[name], max_pixels=9 * 14 * 4 - 1, stack=True)


def test_a_compression_that_is_not_supported_is_named() -> None:
    data = tiff(CUBE, **FLAT)
    with pytest.raises(ImageError, match=r"compressed by LZW; .* uncompressed or Deflate"):
        read(by_hand(data, Compression=5))


@pytest.mark.parametrize("name", ["NPY", "bands side by side", "bands one after the other", "a stack of pages"])
def test_what_files_announce(name: str) -> None:
    assert announced_pixels(EncodedImage("the file", CUBES[name])) == 9 * 14
    assert announced_pixels(EncodedImage("the file", CUBES[name][:30])) == 0


@pytest.mark.parametrize("name", CUBES)
def test_damaged_files_are_images_or_image_errors(name: str) -> None:
    random = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(CUBES[name])
        for _ in range(random.integers(1, 5)):
            place = random.integers(min(400, len(data)))
            data[place] = random.integers(256)
        cut = bytes(data[: random.integers(10, len(data))] if random.random() < 0.2 else data)
        with contextlib.suppress(ImageError), warnings.catch_warnings(action="ignore"):
            found = read(cut, stack=True, max_pixels=10_000)
            assert found.pixels.ndim == 3
            assert found.values().shape == found.pixels.shape


_LZW = (  # by tifffile with imagecodecs, not needed to run this: 8 x 8, red by column, green by row, a third of blue
    b"SUkqAAgAAAANAAABBAABAAAACAAAAAEBBAABAAAACAAAAAIBAwADAAAAqgAAAAMBAwABAAAABQAAAAYBAwABAAAAAgAAABEBBAABAAAAwAAAABUBAwAB"
    b"AAAAAwAAABYBBAABAAAACAAAABcBBAABAAAApQAAABoBBQABAAAAsAAAABsBBQABAAAAuAAAABwBAwABAAAAAQAAACgBAwABAAAAAQAAAAAAAAAQABAA"
    b"EAABAAAAAQAAAAEAAAABAAAAgAAg"
)
_DEEP = _LZW + (
    b"QAKpVSQkgUFEhJhJVWxthpISUNbS2hpsbcNf7/hsCg8Fg8fKsLkUPkUSkUVkUYkUbkUChcgEkxkZJmkPmkSmkVmkYmkbmkCh8yoc1osPosSosVosYosbo"
    b"sCiUyqc1qsPqsSqsVqsYqsbqsCisysc1ssPssSssVssYssbssCjEyuc1usPusSusVusYusbusCjcywc1wsPwsSwsVwsYwsbwsBA"
)
_TWELVE = _LZW + (
    b"QAKoFJICgUFSQEhIFbYGhokBMNNoLhq2BsNf4PhsCg8Fg8fAsLkUPkUSkUVkUYkUbkUChcgAUxkYEmkPmkSmkVmkYmkbmkCh8yoc1osPosSosVosYosbo"
    b"sCiUyqc1qsPqsSqsVqsYqsbqsCisysc1ssPssSssVssYssbssCjEyuc1usPusSusVusYusbusCjcywc1wsPwsSwsVwsYwsbwsBA"
)


def test_of_colours_that_only_pillow_unpacks_the_upper_bits_do() -> None:
    y, x = np.mgrid[:8, :8]
    found = read(base64.b64decode(_DEEP))
    np.testing.assert_array_equal(found.pixels, np.dstack([x * 65535 // 7, y * 65535 // 7, 0 * x + 21845]) >> 8)
    assert (found.black, found.white, found.doubt) == (0, 255, "")
    assert "--value-range" in read(base64.b64decode(_TWELVE)).doubt
    with pytest.raises(ImageError, match="compressed by LZW"):
        read(base64.b64decode(_TWELVE), value_range=(0, 4095))
