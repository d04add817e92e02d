"""Explain thousands of images in one command, kill it once, go on, and draw its memory over time.

    pip install ".[cpu,parquet]"
    python tools/explain_many.py PHOTOGRAPH... --images 10000 --output many

The images are copies of the photographs, with names of their own. Resident memory is read twice a second from /proc, so
this runs on Linux only. Written are `memory.csv`, `memory.svg` and `summary.json`; the program fails where an image is
missing, is there twice, or was done again after the kill.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from pyarrow import parquet

_EVERY = 0.5  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_WIDTH, _HEIGHT, _MARGIN = 840, 360, 60


@dataclass
class Course:
    """What was seen of a run: seconds since the start of all, images that were explained so far, megabytes."""

    start: float = field(default_factory=time.perf_counter)
    samples: list[tuple[float, int, float]] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)


@click.command(context_settings={"show_default": True})
@click.argument("photographs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--images", default=10_000, type=click.IntRange(10), help="How many.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for what is measured.")
@click.option("--model", help="Another than the default model.")
@click.option("--kill-at", default=0.5, type=click.FloatRange(0, 1), help="Part of the images after which to kill it.")
def main(photographs: tuple[Path, ...], images: int, output: Path, model: str | None, kill_at: float) -> None:
    """Run it, kill it, resume it, check it."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        folder, dataset = Path(scratch) / "images", Path(scratch) / "dataset"
        make_images(photographs, images, folder)
        options = ["--model", model] if model else []
        command = [sys.executable, "-m", "secam_onnx", "explain", str(folder), "-o", str(dataset), "--to", "parquet"]
        command += ["--json-progress", *options]
        course = Course()
        run(command, course, kill_after=round(kill_at * images))
        kept = {path: path.stat().st_mtime_ns for path in dataset.glob("*.parquet")}
        finished = rows(dataset)
        course.restarts.append(time.perf_counter() - course.start)
        last = run([*command, "--resume"], course)
        keys = parquet.read_table(dataset, columns=["image"]).column(0).to_pylist()
        untouched = all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
        summary = {
            "images": images,
            "photographs": len(photographs),
            "finished_when_killed": finished,
            "explained_after_that": last["explained"],
            "images_per_second_after_that": last["images_per_second"],
            "batch_size": last["batch_size"],
            "rows": len(keys),
            "different": len(set(keys)),
            "parts_of_the_first_run_untouched": untouched,
            "peak_mb": round(max(memory for *_, memory in course.samples), 1),
            "mb_by_tenth": by_tenth(course, images),
            "load": os.getloadavg(),
        }
    write(output, course, summary)
    click.echo(json.dumps(summary, indent=1))
    if not (len(keys) == len(set(keys)) == images == finished + last["explained"] and untouched):
        raise SystemExit("Images are missing, there twice, or were done again.")


def make_images(photographs: tuple[Path, ...], count: int, folder: Path) -> None:
    """Copies, in folders of a thousand; links where the file system has them."""
    for number in range(count):
        source = photographs[number % len(photographs)]
        target = folder / f"{number // 1000:03d}" / f"{number:06d}{source.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy(source, target)


def run(command: list[str], course: Course, kill_after: int | None = None) -> dict[str, Any]:
    """Run the command line, watch its memory, and kill it after so many images; gives its last line of progress."""
    line: dict[str, Any] = {"explained": 0, "finished_earlier": 0}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, watched(process, course, line):
        assert process.stderr is not None
        for text in process.stderr:
            if not text.startswith("{"):
                click.echo(text, nl=False, err=True)
                continue
            line.update(json.loads(text))
            if kill_after is not None and line["explained"] >= kill_after:
                process.send_signal(signal.SIGKILL)
                kill_after = None
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"The command ended with code {process.returncode}.")
    return line


@contextlib.contextmanager
def watched(process: subprocess.Popen[str], course: Course, line: dict[str, Any]) -> Iterator[None]:
    """Take a sample of its memory every so often."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY):
            with contextlib.suppress(OSError, IndexError):  # it may have ended just now
                pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
                done = line["explained"] + line["finished_earlier"]
                course.samples.append((time.perf_counter() - course.start, done, pages * _PAGE / 1e6))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rows(dataset: Path) -> int:
    """Images in whole part files."""
    return sum(parquet.ParquetFile(path).metadata.num_rows for path in dataset.glob("*.parquet"))


def by_tenth(course: Course, images: int) -> list[float | None]:
    """Highest memory within each tenth of the images."""
    tenths: list[list[float]] = [[] for _ in range(10)]
    for _, done, memory in course.samples:
        tenths[min(9, 10 * done // images)].append(memory)
    return [round(max(values), 1) if values else None for values in tenths]


def write(output: Path, course: Course, summary: dict[str, Any]) -> None:
    """The table, the chart and the summary."""
    with (output / "memory.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["seconds", "images", "resident_mb"])
        writer.writerows((f"{seconds:.1f}", done, f"{memory:.1f}") for seconds, done, memory in course.samples)
    (output / "memory.svg").write_text(chart(course, summary), encoding="utf-8")
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def chart(course: Course, summary: dict[str, Any]) -> str:
    """Resident memory over time as SVG."""
    duration = course.samples[-1][0]
    top = 100 * (1 + int(summary["peak_mb"] // 100))

    def x(seconds: float) -> float:
        return round(_MARGIN + (_WIDTH - 2 * _MARGIN) * seconds / duration, 1)

    def y(memory: float) -> float:
        return round(_HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * memory / top, 1)

    def text(across: float, down: float, words: str, anchor: str = "middle") -> str:
        return f'<text x="{across}" y="{down}" text-anchor="{anchor}">{words}</text>'

    points = " ".join(f"{x(seconds)},{y(memory)}" for seconds, _, memory in course.samples)
    step = max(100, 100 * (top // 500))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12" fill="#333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        text(_WIDTH / 2, 24, f"Resident memory, {summary['images']:,} images into one Parquet dataset"),
        *(
            f'<path d="M{x(0)} {y(memory)}H{x(duration)}" stroke="#ddd"/>'
            + text(x(0) - 6, y(memory) + 4, f"{memory} MB", "end")
            for memory in range(0, top + 1, step)
        ),
        *(
            f'<path d="M{x(seconds)} {y(0)}V{y(top)}" stroke="#c33" stroke-dasharray="4"/>'
            + text(x(seconds), y(top) - 6, f"kill -9 with {summary['finished_when_killed']:,} finished; resumed")
            for seconds in course.restarts
        ),
        *(text(x(duration * part / 4), _HEIGHT - _MARGIN + 18, f"{duration * part / 4:.0f} s") for part in range(5)),
        f'<polyline points="{points}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
