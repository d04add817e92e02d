"""`kill -9` in the middle of a run, at awkward moments, and going on: every image exactly once, none done again."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MakePhotos = Callable[..., list[Path]]
MakeShard = Callable[..., Path]

# Parts of seven images; the program kills itself as soon as an operating system call has returned for the nth time.
KILLED = """
import os, signal, sys, threading
from secam_onnx.batch import parquet_parts
from secam_onnx.cli import main

parquet_parts._ROWS = 7
call, count = getattr(os, sys.argv[1], None), int(sys.argv[2])
sys.argv[1:3] = []

def watch(frame, event, function):
    global count
    if event == "c_return" and function is call:
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)

if call:
    threading.setprofile(watch)
    sys.setprofile(watch)
main()
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(__import__("signal"), "SIGKILL"), reason="this system has no kill -9"),
]


@pytest.fixture
def explain(tmp_path: Path, tiny_model: Path, photos: MakePhotos, shard: MakeShard) -> Callable[..., Any]:
    """Run over 30 images of a folder, 10 of a shard and 2 bad ones."""
    photos(30)
    shard(10, first=100)
    for name in ("0007.jpg", "0023.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"no picture")
    shutil.copy(tiny_model, tmp_path / "tiny.onnx")

    def run(call: str, count: int, *options: str) -> tuple[int, dict[str, int]]:
        arguments = ["explain", "photos", "shard.tar", "-m", "tiny.onnx", "--segmenter", "grid", "-o", "out"]
        command = [sys.executable, "-c", KILLED, call, str(count), *arguments, "--json-progress", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        return done.returncode, next((line for line in lines if line["event"] == "done"), {})

    return run


def keys(folder: Path) -> list[str]:
    from pyarrow import parquet

    # Only whole parts have this name; anything else would fail to be read here.
    files = sorted(folder.glob("part-*.parquet"))
    return [key for file in files for key in parquet.read_table(file).column("image").to_pylist()]


@pytest.mark.parametrize(
    ("call", "count"),
    [("fsync", 1), ("fsync", 3), ("replace", 1), ("replace", 3)],
    ids=["first part written", "later part written", "first part in place", "later part in place"],
)
def test_parquet(call: str, count: int, explain: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    assert explain(call, count, "--to", "parquet", "--batch-size", "4")[0] == -9
    finished, failed = keys(out), keys(out / "_errors")
    assert len(finished) == 7 * (count if call == "replace" else count - 1)
    before = {path: path.read_bytes() for path in out.rglob("part-*.parquet")}
    assert len(list(out.rglob(".secam-*.tmp"))) == (call == "fsync")

    code, totals = explain("none", 0, "--to", "parquet", "--resume")
    assert code == 1, "two cannot be read, now or earlier"
    assert totals["explained"] == 38 - len(finished), "a finished image was done again, or one was lost"
    assert (totals["finished_earlier"], totals["failed_earlier"]) == (len(finished), len(failed))
    assert len(keys(out)) == 38
    assert set(Counter(keys(out)).values()) == {1}
    assert sorted(Path(key).name for key in keys(out / "_errors")) == ["0007.jpg", "0023.jpg"]
    assert {path: path.read_bytes() for path in before} == before
    assert not list(out.rglob(".secam-*"))


@pytest.mark.parametrize(
    ("call", "count"), [("mkdir", 3), ("mkdir", 20), ("replace", 1), ("replace", 17)], ids=lambda value: str(value)
)
def test_folders(call: str, count: int, explain: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert explain(call, count, "--pictures", "0")[0] == -9
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("explanation.json")}
    whole = {path: stamp for path, stamp in stamps.items() if not path.parent.name.startswith(".secam-")}
    code, totals = explain("none", 0, "--pictures", "0", "--resume")
    assert code in (0, 1)
    assert totals["explained"] == 38 - len(whole)
    assert len(list(out.rglob("explanation.json"))) == 38
    assert {path: path.stat().st_mtime_ns for path in whole} == whole
    assert not list(out.rglob(".secam-*"))
    names = [line.partition(",")[0] for line in (out / "errors.csv").read_text().splitlines()[1:]]
    assert sorted(Path(name).name for name in names) == ["0007.jpg", "0023.jpg"]


# As it is started by hand, but with parts of seven images.
PARTS_OF_SEVEN = (
    "from secam_onnx.batch import parquet_parts as parts; parts._ROWS = 7; from secam_onnx.cli import main; main()"
)
BAD = 12


class Room:
    """400 images, a shard of 20, and some that cannot be read; a run over them, and what it has left behind."""

    def __init__(self, place: Path, form: str) -> None:
        self.place, self.form, self.out = place, form, place / "out"
        for number in range(BAD):
            (place / "photos" / f"{33 * number:04d}.jpg").write_bytes(b"no picture" * (number % 2))
        arguments = ["explain", "photos", "shard.tar", "-m", "tiny.onnx", "--segmenter", "grid", "-o", "out"]
        form_options = ["--to", "parquet"] if form == "parquet" else ["--pictures", "0"]
        self.command = [sys.executable, "-c", PARTS_OF_SEVEN, *arguments, *form_options]

    def start(self, *options: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*self.command, *options], cwd=self.place, text=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def killed(self, moment: float) -> bool:
        """Go on with the run, and kill it that many seconds after it has begun; whether it was not quicker."""
        with self.start("--resume") as process:
            while not (self.out / ".secam-lock").exists() and process.poll() is None:
                time.sleep(0.002)
            time.sleep(moment)
            process.kill()
            _, errors = process.communicate(timeout=100)
        assert "Traceback" not in errors, errors
        return process.returncode == -9

    def finished(self) -> list[str]:
        """The images that have a result; each is whole."""
        if self.form == "parquet":
            return keys(self.out)
        found = []
        for manifest in self.out.rglob("explanation.json"):
            if not manifest.parent.name.startswith(".secam-"):
                report = json.loads(manifest.read_text(encoding="utf-8"))
                assert {"explanation.json", *report["files"]} == {path.name for path in manifest.parent.iterdir()}
                found.append(report["image"])
        return found

    def failed(self) -> list[str]:
        if self.form == "parquet":
            return keys(self.out / "_errors")
        with (self.out / "errors.csv").open(newline="", encoding="utf-8") as table:
            return [row["image"] for row in csv.DictReader(table)]


@pytest.mark.parametrize("form", ["folder", "parquet"])
@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.full)])
def test_killed_at_random_moments(
    kills: int, form: str, tmp_path: Path, tiny_model: Path, photos: MakePhotos, shard: MakeShard
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    photos(400)
    shard(20, first=1000)
    shutil.copy(tiny_model, tmp_path / "tiny.onnx")
    room, moments, done = Room(tmp_path, form), random.Random(kills), 0
    while done < kills:
        before: set[str] = set()
        while done < kills and room.killed(moments.uniform(0, 0.6)):
            done += 1
            finished = room.finished()
            assert len(set(finished)) == len(finished), "an image is there twice"
            assert before <= set(finished), "an image was lost"
            before = set(finished)
        with room.start("--resume") as process:
            _, errors = process.communicate(timeout=100)
        assert process.returncode == 1, errors
        finished, failed = room.finished(), room.failed()
        assert before <= set(finished)
        assert len(finished) == len(set(finished)) == 420 - BAD
        assert sorted(failed) == [f"photos/{33 * number:04d}.jpg" for number in range(BAD)]
        assert f"{BAD} of 420 images could not be explained" in errors
        assert not list(room.out.rglob(".secam-*"))
        shutil.rmtree(room.out)
