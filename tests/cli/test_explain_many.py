"""`secam-onnx explain` with folders, shards and lists, into folders and Parquet; progress; stopping and going on."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import bomb_images
import numpy as np
import pytest
import tiny_models
from PIL import Image
from processes import UNMEASURED

RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def room(tmp_path: Path, photo: Path) -> Path:
    """A folder of 25 photographs with a bad one among them, a shard of two, a model."""
    for number in range(25):
        path = tmp_path / "photos" / f"class {number % 2}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, path)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for name in ("a.png", "b.png"):
            archive.add(photo, name)
    (tmp_path / "tiny.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    return tmp_path


SLOW = ("-m", "slow.onnx", "--preprocess", "unit", "--activation", "softmax", "--segmenter", "grid")
OPTIONS = (
    "-m",
    "tiny.onnx",
    "--preprocess",
    "unit",
    "--activation",
    "softmax",
    "--segmenter",
    "grid",
    "--pictures",
    "0",
)


def test_a_folder_and_a_shard(room: Path, run_cli: RunCli) -> None:
    done = run_cli("explain", "photos", "shard.tar", *OPTIONS)
    assert done.returncode == 1
    assert len(list(room.glob("secam-out/photos/class ?/*.png/explanation.json"))) == 25
    assert {path.name for path in (room / "secam-out" / "shard").iterdir()} == {"a.png", "b.png"}
    *lines, total = done.stdout.splitlines()
    assert len(lines) == 27
    assert total.startswith("27 images -> secam-out (")
    assert "batches of 4, larger ones are no faster on the CPU" in total
    table = str(Path("secam-out", "errors.csv"))
    assert done.stderr.splitlines() == [
        f"Error: {Path('photos', 'bad.jpg')} is not an image that can be read; JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, "
        "NPY and AVIF can be.",
        f"1 of 28 images could not be explained; see {table}.",
    ]
    again = run_cli("explain", "photos", "shard.tar", *OPTIONS, "--resume")
    assert again.returncode == 1
    told = f"1 of 28 images could not be explained, 1 of them earlier (--retry-errors); see {table}."
    assert again.stderr.splitlines() == [told]
    assert "27 finished earlier" in again.stdout


@pytest.mark.parametrize("form", ["folder", "parquet", "json"])
@pytest.mark.parametrize("images", [3, 22])
def test_a_warning_names_the_first_image_and_how_many_more(form: str, images: int, room: Path, run_cli: RunCli) -> None:
    for number in range(images):
        Image.fromarray(np.full((9, 14), 900 + number, np.uint16)).save(room / f"{number:02d}.tif")
    Image.fromarray(np.full((9, 14), 60_000, np.uint16)).save(room / "-1.png")
    options = {"folder": (), "parquet": ("--to", "parquet"), "json": ("--json-progress",)}[form]
    done = run_cli("explain", "./-1.png", *sorted(room.glob("*.tif")), *OPTIONS, *options)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    if form == "json":
        events = list(map(json.loads, lines))
        assert events[-1]["event"] == "done"
        lines = [entry["message"] for entry in events if entry["event"] == "note"]
    first, rest = [line for line in lines if "--value-range" in line]
    assert re.match(r"Warning: .*00\.tif: Pixels of more than 8 bits use less than half", first)
    assert rest.startswith(f"Warning: {images - 1} more images: Pixels of more than 8 bits")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("*.gif", "photos/*/*.jpg"), ("*.gif does not exist and, as a pattern, matches nothing", "photos/*/*.jpg")),
        (("tiny.*",), ("Nothing that tiny.* matches is an image; JPEG",)),
        (("empty",), ("The folder empty holds no image; JPEG",)),
        (("empty", "*.gif"), ("The folder empty", "*.gif")),
    ],
)
@pytest.mark.parametrize("to", ["folder", "parquet"])
def test_names_that_lead_to_nothing(
    to: str, names: tuple[str, ...], words: tuple[str, ...], room: Path, run_cli: RunCli
) -> None:
    (room / "empty").mkdir()
    done = run_cli("explain", *names, "-m", "gone.onnx", "--to", to)  # which is not even looked for
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert all(word in done.stderr for word in words), done.stderr
    assert not (room / "secam-out").exists()


def test_one_name_among_others_that_leads_to_nothing(room: Path, run_cli: RunCli) -> None:
    (room / "empty").mkdir()
    done = run_cli("explain", "shard.tar", "*.gif", "empty", *OPTIONS)
    assert done.returncode == 1
    assert "2 images -> secam-out (" in done.stdout
    assert "*.gif does not exist and, as a pattern, matches nothing" in done.stderr
    assert "The folder empty holds no image" in done.stderr
    assert "2 of 4 images could not be explained" in done.stderr
    again = run_cli("explain", "shard.tar", "*.gif", "empty", *OPTIONS, "--resume")
    assert again.stdout == "0 images -> secam-out (2 finished earlier; 2 failed earlier)\n"


def test_no_rate_of_nothing(room: Path, run_cli: RunCli) -> None:
    done = run_cli("explain", "photos/bad.jpg", "photos/class 0/../bad.jpg", *OPTIONS, "--resume")
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 of 2 images could not be explained" in done.stderr


def test_what_pillow_thinks_of_an_image_is_not_shown(room: Path, run_cli: RunCli) -> None:
    """Of transparency in a palette, of damaged EXIF data."""
    shutil.rmtree(room / "photos")
    (room / "photos").mkdir()
    palette = Image.new("P", (40, 30))
    palette.putpalette([value for value in range(256) for _ in range(3)])
    palette.save(room / "photos" / "palette.png", transparency=bytes(range(200)))
    colours = Image.new("RGB", (40, 30))
    colours.save(room / "photos" / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0\x12\x01\x03\0\x01\0\0\0")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for path in (room / "photos").iterdir():
            with Image.open(path) as image:
                image.getexif()
                image.convert("RGB")
    assert {Path(entry.filename).parent.name for entry in caught} == {"PIL"}
    assert len({Path(entry.filename).name + str(entry.lineno) for entry in caught}) == 2
    done = run_cli("explain", "photos", *OPTIONS)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_list_on_stdin_into_parquet(room: Path, run_cli: RunCli) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = "\n".join(["photos/class 0/00.png", "shard.tar", "photos/class 0/00.png", "photos/class 1"])
    done = run_cli("explain", "--from-list", "-", *OPTIONS, "--to", "parquet", "--batch-size", "3", input=names)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("15 images -> secam-out (")
    assert "batches of 3, as asked for; 1 named twice)" in done.stdout
    assert parquet.read_table(room / "secam-out").num_rows == 15


def test_progress_for_machines(room: Path, run_cli: RunCli) -> None:
    done = run_cli("explain", "photos", *OPTIONS, "--json-progress")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    (failed,) = (line for line in lines if line["event"] == "failed")
    assert failed["image"] == str(Path("photos", "bad.jpg"))
    assert "is not an image that can be read" in failed["message"]
    lines.remove(failed)
    assert [line["event"] for line in lines] == ["progress"] * (len(lines) - 1) + ["done"]
    last = lines[-1]
    assert {name: last[name] for name in ("explained", "failed", "total", "batch_size", "seconds_left")} == {
        "explained": 25,
        "failed": 1,
        "total": 26,
        "batch_size": 4,
        "seconds_left": 0.0,
    }
    assert last["images_per_second"] == pytest.approx(26 / last["seconds"], rel=0.1)
    assert done.stdout == ""


def test_notes_for_machines_are_json_too(room: Path, run_cli: RunCli) -> None:
    done = run_cli("explain", "shard.tar", "-m", "tiny.onnx", "--pictures", "0", "--json-progress")
    assert done.returncode == 0
    notes = [line for line in map(json.loads, done.stderr.splitlines()) if line["event"] == "note"]
    assert any(note["message"].startswith("Preprocessing assumed") for note in notes)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_on_a_terminal(room: Path) -> None:
    import pty
    import termios

    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 120))
    command = [sys.executable, "-m", "secam_onnx", "explain", "photos", *OPTIONS]
    with subprocess.Popen(command, cwd=room, stdout=subprocess.PIPE, stderr=follower, text=True) as process:
        os.close(follower)
        shown = b""
        with os.fdopen(leader, "rb", buffering=0) as terminal:
            while True:
                try:
                    shown += terminal.read(1000)
                except OSError:  # the other end is closed
                    break
        output = process.stdout.read() if process.stdout else ""
    text = shown.decode()
    assert "explain: 100%" in text
    assert "26/26" in text
    assert "images/s" in text
    assert "Error: photos/bad.jpg is not an image" in text
    assert len(output.splitlines()) == 1, "no line an image beside a bar"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_it_is_stopped_and_goes_on(number: int, code: int, tmp_path: Path, photo: Path, run_cli: RunCli) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / "photos").mkdir()
    for index in range(60):
        os.link(shutil.copy(photo, tmp_path / "photo.png"), tmp_path / "photos" / f"{index:02d}.png")
    slow = tiny_models.classifier(channels=32, size=256, layers=4)
    (tmp_path / "slow.onnx").write_bytes(slow.SerializeToString())
    options = (*SLOW, "--to", "parquet", "-o", "out")
    command = [
        sys.executable,
        "-m",
        "secam_onnx",
        "explain",
        "photos",
        *options,
        "--json-progress",
        "--batch-size",
        "1",
    ]
    with subprocess.Popen(command, cwd=tmp_path, env=UNMEASURED, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            while json.loads(line := process.stderr.readline())["explained"] == 0:
                assert line
            process.send_signal(number)
            errors = process.stderr.read()
            process.wait(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in errors) == (code, False), errors
    stopped = next(json.loads(line) for line in errors.splitlines() if '"stopped"' in line)
    finished = parquet.read_table(tmp_path / "out").num_rows
    assert 0 < stopped["explained"] == finished <= 60
    assert "finished in out" not in errors, "it is in the line of JSON"
    done = run_cli("explain", "photos", *options, "--resume")
    assert done.returncode == 0, done.stderr
    table = parquet.read_table(tmp_path / "out")
    assert len(set(table.column("image").to_pylist())) == table.num_rows == 60
    assert f"{finished} finished earlier" in done.stdout


@pytest.mark.parametrize("to", ["folder", "parquet"])
def test_ctrl_c_keeps_what_is_finished_though_large_images_are_being_decoded(
    to: str, room: Path, photo: Path, run_cli: RunCli
) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow")
    (room / "slow").mkdir()
    for index in range(40):
        shutil.copy(photo, room / "slow" / f"{index:02d}.png")
    data = bomb_images.slow_but_allowed()
    for index in range(20):  # seconds each
        (room / "slow" / f"large-{index:02d}.jpg").write_bytes(data)
    command = [sys.executable, "-m", "secam_onnx", "explain", "slow", *OPTIONS, "--to", to, "--batch-size", "1"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--json-progress"], cwd=room, env=UNMEASURED, text=True, **pipes) as process:
        try:
            assert process.stderr is not None
            while json.loads(line := process.stderr.readline())["explained"] < 5:
                assert line
            process.send_signal(signal.SIGINT)
            sent = time.monotonic()
            _, errors = process.communicate(timeout=100)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert time.monotonic() - sent < 30
    assert 5 <= _on_the_disk(room / "secam-out", to) < 55
    assert not list((room / "secam-out").rglob(".secam-*.tmp"))


@pytest.mark.skipif(sys.platform == "win32", reason="such files are made otherwise on Windows")
def test_what_the_operating_system_refuses_is_a_row_each_and_ends_nothing(
    room: Path, photo: Path, run_cli: RunCli
) -> None:
    shutil.rmtree(room / "photos")
    for name in ("photos/good.png", "errors.csv.png/good.png", "a.png"):
        (room / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo, room / name)
    (room / "photos" / "loop.jpg").symlink_to("loop.jpg")
    (room / "photos" / "dangling.jpg").symlink_to("nowhere.jpg")
    (room / "photos" / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.tar", "pipe.tgz", "pipe.jpg"):
        os.mkfifo(room / "photos" / name)
    bad = ["n" * 300, "d/" * 3000 + "e.jpg", "a.png/x.png", "null\0.jpg", "/proc/self/mem"]
    (room / "list.txt").write_text("\n".join(["", "a.png", "a.png", "a.png", *bad, "a.png"]), encoding="utf-8")
    command = ("explain", "errors.csv.png", "photos", "--from-list", "list.txt", *OPTIONS)
    done = run_cli(*command)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "11 of 17 images could not be explained" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("3 images -> secam-out (")
    with (room / "secam-out" / "errors.csv").open(newline="", encoding="utf-8") as table:
        rows = [row["image"] for row in csv.DictReader(table)]
    assert {Path(name).name[:20] for name in rows} == {
        *("loop.jpg", "dangling.jpg", "zero.jpg", "pipe.tar", "pipe.tgz", "pipe.jpg"),
        *("n" * 20, "... (6,005 character", "x.png", "null\\x00.jpg", "mem"),
    }
    again = run_cli(*command, "--resume")
    assert "3 finished earlier; 11 failed earlier; 3 named twice" in again.stdout


def test_two_runs_in_one_folder(room: Path, run_cli: RunCli) -> None:
    command = [sys.executable, "-m", "secam_onnx", "explain", "--from-list", "-", *OPTIONS, "-o", "out"]
    with subprocess.Popen(command, cwd=room, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write("shard.tar\n")
        first.stdin.flush()
        while not (room / "out" / ".secam-lock").exists():
            time.sleep(0.05)
        for options in ((), ("--resume",), ("--to", "parquet")):
            refused = run_cli("explain", "photos", *OPTIONS, "-o", "out", *options)
            assert refused.returncode == 2
            assert re.search(
                rf"out is in use by another run \(process {first.pid} on .*\)\. Wait until", refused.stderr
            )
        # A few images that are named one by one have no table to share, but would be taken for leftovers.
        assert run_cli("explain", "photos/class 0/00.png", *OPTIONS, "-o", "out").returncode == 2
        output, _ = first.communicate(timeout=100)
    assert first.returncode == 0
    assert output.splitlines()[-1].startswith("2 images -> out")
    done = run_cli("explain", "photos", *OPTIONS, "-o", "out", "--resume")
    assert done.returncode == 1, done.stderr
    assert not list((room / "out").rglob(".secam-*"))


def test_single_images_side_by_side(room: Path, run_cli: RunCli) -> None:
    """As of a loop in a shell; each has a folder of its own."""
    command = [sys.executable, "-m", "secam_onnx", "explain", *OPTIONS, "-o", "out"]
    runs = [
        subprocess.Popen([*command, f"photos/class {index % 2}/{index:02d}.png"], cwd=room, stdout=subprocess.DEVNULL)
        for index in range(3)
    ]
    assert [process.wait(100) for process in runs] == [0, 0, 0]
    assert sorted(path.name for path in (room / "out").iterdir()) == ["00", "01", "02"]


@pytest.mark.parametrize("to", ["folder", "parquet"])
def test_the_count_after_ctrl_c_is_the_count_on_the_disk(to: str, tmp_path: Path, photo: Path) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "photos").mkdir()
    for index in range(600):  # far more than there is time for
        os.link(shutil.copy(photo, tmp_path / "photo.png"), tmp_path / "photos" / f"{index:03d}.png")
    slow = tiny_models.classifier(channels=32, size=256, layers=4)
    (tmp_path / "slow.onnx").write_bytes(slow.SerializeToString())
    options = (*SLOW, "--to", to, "-o", "out")
    command = [sys.executable, "-u", "-m", "secam_onnx", "explain", "photos", *options, "--batch-size", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    finished = []
    for stop in range(2 if to == "folder" else 1):
        again = ["--resume"] if stop else []
        with subprocess.Popen([*command, *again], cwd=tmp_path, env=UNMEASURED, text=True, **pipes) as process:
            assert process.stdout is not None
            try:
                if to == "folder":
                    process.stdout.readline()  # of an image that is done
                else:
                    while not (tmp_path / "out").is_dir():
                        time.sleep(0.05)
                    time.sleep(2)
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=100)
            finally:
                process.kill()
        assert process.returncode == 130, errors
        told = re.search(r"^(\d+) images? finished in out; go on with --resume\.$", errors, re.MULTILINE)
        assert told is not None, errors
        finished.append(int(told[1]))
        assert sum(finished) == _on_the_disk(tmp_path / "out", to)


def _on_the_disk(folder: Path, to: str) -> int:
    if to == "folder":
        return len([*folder.rglob("explanation.json")])
    from pyarrow import parquet

    return parquet.read_table(folder).num_rows if [*folder.glob("*.parquet")] else 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("photos", "--batch-size", "0"), ("--batch-size", "1 to 4096")),
        (("photos", "--batch-size", "many"), ("auto",)),
        (("photos", "--label-maps"), ("--to parquet", "arrays.npz")),
        (("photos", "--retry-errors"), ("--resume",)),
        (("photos", "--label-map", "map.png"), ("one image", "several were")),
        (("--from-list", "gone.txt"), ("gone.txt", "one image per line")),
        (("photos", "--to", "csv"), ("folder", "parquet")),
        (("photos", "--ray-address", "10.0.0.1:6379"), ("--engine ray",)),
        (("photos", "--engine", "ray", "--to", "folder"), ("Parquet",)),
        (("photos/a.png", "--engine", "ray", "--label-map", "map.png"), ("--label-map",)),
        (("photos", "--output", "s3://bucket/table"), ("--output", "folder on this machine")),
    ],
)
def test_wrong_options(
    arguments: tuple[str, ...], words: tuple[str, ...], photo: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "photos" / "a.png")
    refused("explain", *arguments, words=words)


def test_parquet_without_pyarrow_says_what_to_install(room: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from secam_onnx.cli import main; main()"
    command = [sys.executable, "-c", code, "explain", "photos", *OPTIONS, "--to", "parquet"]
    done = subprocess.run(command, cwd=room, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert 'pip install "secam-onnx[parquet]"' in done.stderr
    assert not (room / "secam-out").exists()


def test_a_dataset_that_is_there_is_not_touched(room: Path, run_cli: RunCli) -> None:
    pytest.importorskip("pyarrow")
    arguments = ("explain", "photos", *OPTIONS, "--to", "parquet")
    assert run_cli(*arguments).returncode == 1
    refused = run_cli(*arguments)
    assert refused.returncode == 2
    assert "holds a dataset" in refused.stderr
    assert "--resume" in refused.stderr
    refused = run_cli(*arguments, "--resume", "--class", "3")
    assert refused.returncode == 2
    assert "classes: ['top-1'] before, ['3'] now" in refused.stderr
