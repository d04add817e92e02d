"""Mutate image files of every format and look whether anything but an image or a named error comes out.

    python tools/fuzz_images.py --seconds 120 --seed 1

Each mutant is read in a worker process. What ends it by a signal, raises anything but an `ImageError`, takes more
processor time than `--limit` or more memory than `--memory`, or announces another size than it has, is a finding. The
mutant is then kept below `--keep`, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

from fuzzing.answering_process import AnsweringProcess, answer_lines
from fuzzing.image_mutations import mutate_image
from fuzzing.image_seeds import image_seeds
from fuzzing.peak_memory import forget_peak, peak_bytes

_MAX_PIXELS = 4_000_000
_ADDRESSES = 4 << 30  # beyond what any image may take, so that a bomb ends there


def work(limit: float, memory: int) -> None:
    """Read the files whose paths come in, one a line, and answer with a word for each."""
    warnings.simplefilter("ignore")
    import tifffile  # noqa: F401 (so that its memory is no image's)
    from PIL import Image

    from secam_onnx.errors import ImageError
    from secam_onnx.photograph.image_files import EncodedImage, announced_pixels, read_raster

    def answer(line: str) -> str:
        path, stack = line.rsplit(" ", 1)
        image = EncodedImage("the file", Path(path).read_bytes())
        signal.setitimer(signal.ITIMER_PROF, 4 * limit)  # a signal that ends the process
        before, start = forget_peak(), time.process_time()
        structure = 0.0
        try:
            announced = announced_pixels(image)
            structure = time.process_time() - start
            found = read_raster(image, max_pixels=_MAX_PIXELS, stack=stack == "True", value_range=(0, 255))
            said = "read"
            if not announced >= found.pixels.shape[0] * found.pixels.shape[1]:
                said = f"FOUND {found.pixels.shape} pixels where {announced} were announced"
        except ImageError as error:
            said = "ImageError" if isinstance(error.__cause__, Exception) else "refused by structure"
            if isinstance(error.__cause__, MemoryError):
                said = "FOUND MemoryError"
        finally:
            taken = time.process_time() - start
            signal.setitimer(signal.ITIMER_PROF, 0)
        grown = peak_bytes() - before
        if grown > memory:
            return f"FOUND {grown >> 20} MB"
        if taken > limit:
            return f"FOUND {taken:.1f} s"
        return f"FOUND {structure:.1f} s for the structure" if structure > limit / 3 else said

    Image.init()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    answer_lines(answer)


def main() -> int:
    """Fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=3, help="seconds of processor time that an image may take")
    parser.add_argument("--memory", type=int, default=600 << 20, help="bytes that an image may take")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.limit, options.memory)
        return 0
    command = [sys.executable, __file__, "--work", "--limit", str(options.limit), "--memory", str(options.memory)]
    worker = AnsweringProcess(command, 120 + 8 * options.limit)
    seeds, end = image_seeds(), time.monotonic() + options.seconds
    names = sorted(seeds)
    outcomes: collections.Counter[str] = collections.Counter()
    number = options.seed * 10_000_000
    options.keep.mkdir(exist_ok=True)
    path = options.keep / f"mutant-{os.getpid()}"
    while time.monotonic() < end:
        number += 1
        chance = random.Random(number)
        name = chance.choice(names)
        others = [other for other in names if other.split()[0] == name.split()[0]]
        path.write_bytes(mutate_image(seeds[name], seeds[chance.choice(others)], chance))
        answer = worker.ask(f"{path.absolute()} {chance.random() < 0.5}")
        outcomes[" ".join(answer.split(":")[0].split()[:2]) if answer.startswith("FOUND") else answer] += 1
        if answer.startswith("FOUND"):
            (options.keep / f"{number}-{name.replace(' ', '-').replace(';', '')}").write_bytes(path.read_bytes())
            print(f"{number} ({name}): {answer}", flush=True)
    worker.close()
    path.unlink()
    found = sum(count for answer, count in outcomes.items() if answer.startswith("FOUND"))
    if not found and not any(options.keep.iterdir()):
        options.keep.rmdir()
    print(f"{sum(outcomes.values())} mutants of {len(seeds)} files: {dict(outcomes)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
