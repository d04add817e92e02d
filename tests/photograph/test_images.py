import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secam_onnx.errors import ImageError
from secam_onnx.photograph.images import MAX_ASPECT, MIN_SIDE, as_rgb, read_image

WHITE = (255, 255, 255)
NOISE = np.random.default_rng(0).integers(0, 256, (12, 20, 4)).astype(np.uint8)
SIXTEEN = np.array([[0, 128, 129, 257, 40000, 65535]] * 6, dtype=np.uint16)


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG file by hand: what Pillow cannot or will not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    trns = chunk(b"tRNS", extra) if extra else b""
    return b"\x89PNG\r\n\x1a\n" + header + trns + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def encoded(pixels: np.ndarray, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def over_white(rgba: np.ndarray) -> np.ndarray:
    image = Image.fromarray(rgba, "RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")).astype(int)


@pytest.fixture
def stored(tmp_path: Path):
    def store(data: bytes) -> Path:
        path = tmp_path / "image"
        path.write_bytes(data)
        return path

    return store


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_keep_every_pixel(stored, chelsea, form):
    pixels = read_image(stored(encoded(chelsea, form, **({"lossless": True} if form == "WEBP" else {}))))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, chelsea)


@pytest.mark.parametrize("form", ["JPEG", "AVIF", "MPO"])
def test_lossy_formats_come_close(stored, chelsea, form):
    pixels = read_image(stored(encoded(chelsea, form, quality=95)))
    assert np.abs(pixels.astype(int) - chelsea).mean() < 3


def test_greyscale_fills_all_channels(stored):
    grey = NOISE[..., 0]
    np.testing.assert_array_equal(read_image(stored(encoded(grey, "PNG"))), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize("transparent", [None, 2, bytes([255, 128, 0])])
def test_palette(stored, transparent):
    colours = np.array([(200, 10, 30), (0, 100, 50), (7, 8, 9)], dtype=np.uint8)
    index = np.arange(60, dtype=np.uint8).reshape(6, 10) % 3
    image = Image.fromarray(index, "P")
    image.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **({} if transparent is None else {"transparency": transparent}))
    alpha = {None: (255, 255, 255), 2: (255, 255, 0)}.get(transparent, (255, 128, 0))
    rgba = np.concatenate([colours, np.array(alpha, dtype=np.uint8)[:, None]], axis=1)
    expected = over_white(rgba[index])
    assert np.abs(read_image(stored(buffer.getvalue())) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "La"])
def test_alpha_is_laid_over_white(mode):
    grey = np.concatenate([np.repeat(NOISE[..., :1], 3, axis=2), NOISE[..., 3:]], axis=2)
    rgba = NOISE if mode.startswith("RGB") else grey
    image = Image.fromarray(rgba, "RGBA")
    if mode in ("LA", "La"):
        image = Image.merge("LA", [image.getchannel(0), image.getchannel("A")])
    # The premultiplied modes lose colour where alpha is small, never more than one step of what is seen.
    assert np.abs(as_rgb(image.convert(mode)) - over_white(rgba)).max() <= 1


def test_alpha_of_arrays():
    assert np.abs(as_rgb(NOISE) - over_white(NOISE)).max() <= 1


def test_cmyk_jpeg_keeps_its_colours(stored, chelsea):
    buffer = io.BytesIO()
    Image.fromarray(chelsea).convert("CMYK").save(buffer, "JPEG", quality=98)
    pixels = read_image(stored(buffer.getvalue()))
    # A wrong sign of the ink gives a negative, 100 steps away.
    assert np.abs(pixels.astype(int) - chelsea).mean() < 3


def test_16_bit_grey_png_is_scaled_not_clipped(stored):
    pixels = read_image(stored(encoded(SIXTEEN, "PNG")))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 1, 156, 255]


def test_16_bit_grey_png_with_a_transparent_value(stored):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in SIXTEEN)
    pixels = read_image(stored(png(6, 6, 16, 0, rows, struct.pack(">H", 257))))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 255, 156, 255]


def test_16_bit_arrays():
    pixels = as_rgb(np.stack([SIXTEEN, SIXTEEN[:, ::-1], np.zeros_like(SIXTEEN)], axis=-1))
    assert pixels[0].T.tolist() == [[0, 0, 1, 1, 156, 255], [255, 156, 1, 1, 0, 0], [0] * 6]


def test_animation_gives_its_first_frame(stored):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    assert (read_image(stored(buffer.getvalue())) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation(stored, chelsea, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_image(stored(encoded(chelsea, "PNG", exif=exif))), upright(chelsea))


def test_bool_and_float_arrays():
    mask = np.eye(6, dtype=bool)
    np.testing.assert_array_equal(as_rgb(mask)[..., 0], np.where(mask, 255, 0))
    ramp = np.linspace(0, 1, 36).reshape(6, 6)
    for dtype, step in ((np.float64, 0.5), (np.float32, 0.5), (np.float16, 0.6)):
        assert np.abs(as_rgb(ramp.astype(dtype))[..., 1] - 255 * ramp).max() <= step + 1e-4


@pytest.mark.parametrize("shape", [(MIN_SIDE, MIN_SIDE), (MIN_SIDE, MIN_SIDE * MAX_ASPECT), (6, 7, 1), (6, 7, 3)])
def test_smallest_and_thinnest_that_pass(shape):
    assert as_rgb(np.zeros(shape, dtype=np.uint8)).shape == (*shape[:2], 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda chelsea: b"", "is empty"),
        (lambda chelsea: b"GIF, said the text file", "not an image that can be read"),
        (lambda chelsea: encoded(chelsea, "JPEG")[:8000], "cannot be decoded.*cut off"),
        (lambda chelsea: encoded(chelsea, "PNG")[:90000], "cannot be decoded.*cut off"),
        (lambda chelsea: encoded(chelsea, "PNG")[:20], "not an image|cannot be decoded"),
        (lambda chelsea: encoded(chelsea[:1, :1], "PNG"), "is 1 x 1 pixels; at least 4"),
        (lambda chelsea: encoded(chelsea[:4, :201], "PNG"), "is 201 x 4 pixels.*50 : 1"),
        (lambda chelsea: png(60_000, 60_000, 8, 2), "limit of 100,000,000"),  # Pillow refuses this one itself
        (lambda chelsea: png(12_000, 12_000, 8, 2), "144,000,000 pixels.*limit"),  # Pillow only warns
    ],
)
def test_bad_files(stored, chelsea, make, message):
    with pytest.raises(ImageError, match=message):
        read_image(stored(make(chelsea)))


def test_pixel_limit(photo):
    assert read_image(photo, max_pixels=451 * 300).shape == (300, 451, 3)
    with pytest.raises(ImageError, match=r"135,300 pixels \(451 x 300\).*limit.* 135,299"):
        read_image(photo, max_pixels=451 * 300 - 1)


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "none.png")


def test_a_folder_is_called_a_folder(tmp_path):
    with pytest.raises(ImageError, match=r"folder|directory") as caught:
        read_image(tmp_path)
    assert "cut off" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((6, 6), np.nan), "NaN or infinity"),
        (np.where(np.eye(6) > 0, np.inf, -np.inf), "NaN or infinity"),
        (np.full((6, 6, 3), 1.01), r"values from 1.01 to 1.01; .*\[0, 1\]"),
        (np.full((6, 6, 3), -0.1), "values from -0.1 to -0.1"),
        (np.zeros((6, 6, 3), dtype=np.int64), "dtype int64; uint8"),
        (np.zeros((3, 20, 20), dtype=np.uint8), r"shape \(3, 20, 20\).*channels last"),
        (np.zeros((1, 20, 20, 3), dtype=np.uint8), r"shape \(1, 20, 20, 3\)"),
        (np.zeros((0, 20, 3), dtype=np.uint8), "without empty axes"),
        (np.zeros((3, 20), dtype=np.uint8), "is 20 x 3 pixels"),
        (np.zeros((201, 4), dtype=np.uint8), "is 4 x 201 pixels"),
        (np.array(None), r"shape \(\)"),
    ],
)
def test_bad_arrays(pixels, message):
    with pytest.raises(ImageError, match=f"the photo .*{message}"):
        as_rgb(pixels, name="the photo")


def test_an_opened_picture_is_turned_upright_as_the_file_is(tmp_path, chelsea):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(chelsea).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(as_rgb(image), np.rot90(chelsea, -1))


def test_an_opened_picture_that_is_cut_off_is_an_image_error(tmp_path, photo):
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:50_000])
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(ImageError, match="the image cannot be decoded"):
        as_rgb(image)
