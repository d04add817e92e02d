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
import select
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

from fuzzing.image_mutations import mutate_image
from fuzzing.image_seeds import image_seeds
from fuzzing.peak_memory import forget_peak, peak_bytes

_MAX_PIXELS = 4_000_000
_ADDRESSES = 4 << 30  # beyond what any image may take, so that a bomb ends there


def work(limit: float, memory: int) -> None:
    """Read the files whose paths come in, one a line, and answer with a word for each."""
    answers = os.fdopen(os.dup(1), "w")
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # libtiff prints what it thinks of a file
    warnings.simplefilter("ignore")
    import tifffile  # noqa: F401 (so that its memory is no image's)
    from PIL import Image

    from secam_onnx.errors import ImageError
    from secam_onnx.photograph.image_files import EncodedImage, announced_pixels, read_raster

    Image.init()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        path, stack = line.strip().rsplit(" ", 1)
        data = Path(path).read_bytes()
        signal.setitimer(signal.ITIMER_PROF, 4 * limit)  # a signal that ends the process
        before, start = forget_peak(), time.process_time()
        structure = 0.0
        try:
            announced = announced_pixels(EncodedImage("the file", data))
            structure = time.process_time() - start
            found = read_raster(
                EncodedImage("the file", data), max_pixels=_MAX_PIXELS, stack=stack == "True", value_range=(0, 255)
            )
            answer = "read"
            if not announced >= found.pixels.shape[0] * found.pixels.shape[1]:
                answer = f"FOUND {found.pixels.shape} pixels where {announced} were announced"
        except ImageError as error:
            answer = "ImageError" if isinstance(error.__cause__, Exception) else "refused by structure"
            if isinstance(error.__cause__, MemoryError):
                answer = "FOUND MemoryError"
        except BaseException as error:
            answer = f"FOUND {type(error).__name__}: {error}"
        taken = time.process_time() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
        grown = peak_bytes() - before
        if structure > limit / 3:
            answer = f"FOUND {structure:.1f} s for the structure"
        if taken > limit:
            answer = f"FOUND {taken:.1f} s"
        if grown > memory:
            answer = f"FOUND {grown >> 20} MB"
        print(answer.replace("\n", " "), file=answers, flush=True)


class Worker:
    """A process that reads images; a new one is started when it is lost."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def ask(self, path: Path, stack: bool) -> str:
        """What it says of a file, or how it ended."""
        if self._process is None:
            command = [sys.executable, __file__, "--work", "--limit", str(self._options.limit)]
            command += ["--memory", str(self._options.memory)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe)
            self._answer(600)
        assert self._process is not None
        print(path, stack, file=self._process.stdin, flush=True)
        answer = self._answer(120 + 8 * self._options.limit)
        if not answer:
            hangs = self._process.poll() is None
            self._process.kill()
            code = self._process.wait()
            answer = f"FOUND {'a hang' if hangs else f'exit {code}'}"
            self.close()
        return answer

    def _answer(self, limit: float) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], limit)
        line = self._process.stdout.readline().strip() if ready else ""
        if ready and not line:
            self._process.wait()
        return line

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


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
    seeds, worker, end = image_seeds(), Worker(options), time.monotonic() + options.seconds
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
        answer = worker.ask(path.absolute(), chance.random() < 0.5)
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
