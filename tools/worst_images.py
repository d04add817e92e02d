"""Measure the worst image files that are read: what each format takes at most, in seconds and in memory.

    python tools/worst_images.py --megapixels 50 --megabytes 32

For each format it makes files as large and as slow to decode as the limits of their structure allow, and reads each in
a process of its own. Prints a table, the worst of each format in it. The files take minutes to make.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from fuzzing.peak_memory import forget_peak, peak_bytes
from PIL import Image

from secam_onnx.errors import ImageError
from secam_onnx.photograph.file_structure.image_formats import FORMATS
from secam_onnx.photograph.file_structure.read_structure import read_structure
from secam_onnx.photograph.image_files import read_raster

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
import bomb_images

Case = tuple[str, Callable[[], bytes]]
_RANDOM = np.random.default_rng(0)


def saved(pixels: np.ndarray | Image.Image, form: str, **options: Any) -> bytes:
    """A file of Pillow's."""
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, form, **options)
    return buffer.getvalue()


def noise(side: int, channels: int = 3, least: int = 0) -> np.ndarray:
    """Pixels that no codec can pack."""
    shape = (side, side, channels) if channels > 1 else (side, side)
    return _RANDOM.integers(least, 256, shape, dtype=np.uint8)


def most(make: Callable[[int], bytes], high: int) -> bytes:
    """The file of the largest number that the structure's limits let pass."""
    low = 1
    while low < high:
        middle = (low + high + 1) // 2
        try:
            read_structure(io.BytesIO(make(middle)), "the file", formats=FORMATS)
            low = middle
        except ImageError:
            high = middle - 1
    return make(low)


def fitting(make: Callable[[int], bytes], size: int, qualities: Iterator[int]) -> bytes:
    """The file of the first quality that is at most so large."""
    for quality in qualities:
        data = make(quality)
        if len(data) <= size:
            return data
    raise SystemExit("no quality makes a file that is small enough")


def with_scans(data: bytes, scans: int) -> bytes:
    """A progressive JPEG with the last scan of a black one repeated behind its own."""
    black = bomb_images.progressive_bomb(64, 0)
    last = black[black.rindex(b"\xff\xc4") : black.rindex(b"\xff\xd9")]
    return data[: data.rindex(b"\xff\xd9")] + last * scans + b"\xff\xd9"


def noise_with_scans(side: int, size: int) -> bytes:
    """A progressive JPEG of noise, at most so large, with as many scans behind its own as may be."""
    pixels = noise(side)
    data = fitting(lambda q: saved(pixels, "JPEG", quality=q, progressive=True), size, iter(range(83, 0, -12)))
    return most(lambda scans: with_scans(data, scans), 200)


def png_of_chunks(side: int) -> bytes:
    """A PNG of 16 bits and four channels whose pixels come a byte a chunk, as far as they may."""
    packer = zlib.compressobj(1)
    pixels = b"".join(packer.compress(b"\4" + bytes(8 * side)) for _ in range(side)) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

    single = min(99_000, len(pixels))
    parts = [chunk(b"IDAT", pixels[place : place + 1]) for place in range(single)] + [chunk(b"IDAT", pixels[single:])]
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", side, side, 16, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(parts) + chunk(b"IEND", b"")


def rle_bmp(side: int) -> bytes:
    """A BMP of runs of four bits, which Pillow unpacks a pixel at a time."""
    row = b"\xff\x12" * (side // 255) + bytes([side % 255, 0x12]) + b"\0\0"
    rows = row * side + b"\0\1"
    header = struct.pack("<LllHHLLllLL", 40, side, side, 1, 4, 2, len(rows), 0, 0, 16, 0)
    return b"BM" + struct.pack("<LHHL", 0, 0, 0, 14 + 40 + 64) + header + bytes(range(64)) + rows


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    """A file of tifffile's."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def npy(pixels: np.ndarray) -> bytes:
    """An array."""
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def cases(pixels: int, size: int) -> dict[str, list[Case]]:
    """For each format what may be its worst file, at most so large."""
    side = int(pixels**0.5)
    wide = min(side * side // 16383, 16383)  # a WebP is at most 16383 across
    bands = int((pixels / 171) ** 0.5)  # 512 of them count as 171 pictures of three
    small = int((size / 3.2) ** 0.5)
    qualities = range(95, 0, -12)
    return {
        "JPEG": [
            ("empty scans", lambda: most(lambda scans: bomb_images.progressive_bomb(side, scans), 200)),
            ("noise, with empty scans", lambda: noise_with_scans(side, size)),
            (
                "noise in CMYK",
                lambda: fitting(
                    lambda q: saved(Image.fromarray(noise(side, 4), "CMYK"), "JPEG", quality=q, progressive=True),
                    size,
                    iter(qualities),
                ),
            ),
        ],
        "PNG": [
            ("16 bits and opacity, in chunks of a byte", lambda: png_of_chunks(side)),
            ("noise", lambda: saved(noise(small), "PNG", compress_level=1)),
            ("palette", lambda: saved(Image.new("P", (side, side)), "PNG", transparency=0)),
        ],
        "WebP": [
            (
                "noise, lossless",
                lambda: saved(
                    np.resize(noise(small // 2 * 2, 3), (wide, 16383, 3)) & 128,
                    "WEBP",
                    lossless=True,
                    method=0,
                    quality=0,
                ),
            ),
            (
                "noise and opacity",
                lambda: saved(np.resize(noise(small, 4), (wide, 16383, 4)), "WEBP", quality=1, method=0),
            ),
        ],
        "GIF": [("noise of 8 colours", lambda: saved(Image.fromarray(noise(side, 1) & 7, "P"), "GIF", interlace=1))],
        "BMP": [("run lengths", lambda: rle_bmp(3999))],
        "TIFF": [
            ("LZW of noise", lambda: saved(noise(int(small * 0.85)), "TIFF", compression="tiff_lzw")),
            (
                "Deflate, 16 bits",
                lambda: tiff(
                    np.zeros((side, side, 3), np.uint16), photometric="rgb", compression="zlib", predictor=True
                ),
            ),
            (
                "float, Deflate",
                lambda: tiff(
                    np.zeros((side, side, 3), np.float32), photometric="rgb", compression="zlib", rowsperstrip=16
                ),
            ),
            ("LZMA", lambda: saved(np.resize(noise(small // 2), (side, side, 3)) & 1, "TIFF", compression="lzma")),
            ("JPEG", lambda: most(lambda scans: bomb_images.jpeg_in_tiff_bomb(side, scans), 90)),
            (
                "tiles of 16 x 16",
                lambda: tiff(np.zeros((4096, 4096, 3), np.uint8), photometric="rgb", compression="zlib", tile=(16, 16)),
            ),
            (
                "512 bands",
                lambda: tiff(
                    np.zeros((512, bands, bands), np.float32),
                    planarconfig="separate",
                    photometric="minisblack",
                    compression="zlib",
                ),
            ),
        ],
        "PPM": [
            ("up to 254", lambda: bomb_images.scaled_ppm_bomb(1630)),
            ("digits", lambda: bomb_images.plain_ppm_bomb(1630)),
        ],
        "NPY": [("floats of 64 bits", lambda: npy(np.zeros((small // 2, small // 2 * 2, 1)) + 0.5))],
        "AVIF": [
            (
                "noise and opacity",
                lambda: fitting(
                    lambda q: saved(noise(side, 4), "AVIF", quality=q, subsampling="4:4:4", speed=10),
                    size,
                    iter((60, 40, 20, 5)),
                ),
            )
        ],
        "JPEG 2000 (off)": [("noise", lambda: saved(noise(1000), "JPEG2000"))],
    }


def measure(path: Path, max_pixels: int) -> None:
    """Read a file, and print what that took."""
    Image.init()
    before, start, cpu = forget_peak(), time.perf_counter(), time.process_time()
    try:
        found = read_raster(path, max_pixels=max_pixels, formats=FORMATS, stack=True)
        answer = "x".join(map(str, found.pixels.shape))
    except ImageError as error:
        answer = f"refused: {error}"
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "memory": peak_bytes() - before, "answer": answer}))


def main() -> None:
    """Make the files and measure them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=50)
    parser.add_argument("--megabytes", type=float, default=32, help="the largest file")
    parser.add_argument("--only", help="a format")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    pixels = int(options.megapixels * 1e6)
    if options.measure:
        measure(options.measure, pixels)
        return
    print("| format | worst file | MB | seconds | MB of memory |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for form, some in cases(pixels, int(options.megabytes * 2**20)).items():
            for title, make in some if options.only in (None, form) else ():
                path = Path(folder) / "image"
                path.write_bytes(make())
                command = [sys.executable, __file__, "--measure", str(path), "--megapixels", str(options.megapixels)]
                done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
                found = json.loads(done.stdout)
                size = path.stat().st_size / 2**20
                line = f"| {form} | {title} | {size:.1f} | {found['cpu']:.1f} | {found['memory'] / 1e6:.0f} |"
                print(line, f"({found['answer'][:100]}, {found['wall']:.1f} s)", file=sys.stderr, flush=True)
                print(line, flush=True)


if __name__ == "__main__":
    main()
