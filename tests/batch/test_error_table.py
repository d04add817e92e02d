"""The table of errors beside folders: one line an image, whole whatever happens, and mended when it is taken up."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import UNMEASURED
from terminal import HOSTILE, left_raw

from secam_onnx.batch.error_table import ErrorTable
from secam_onnx.batch.rows import error_row
from secam_onnx.errors import ImageError, OutputError

RunCli = Callable[..., subprocess.CompletedProcess[str]]

HEADER = b"image,kind,message\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "errors.csv"


def add(table: ErrorTable, key: str, message: str = "cut off") -> None:
    table.add(error_row(key, ImageError(message)))


def read(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert all(row["message"] is not None and None not in row for row in rows)
    return [row["image"] for row in rows]


AWKWARD = [
    "a,b.jpg",
    'say "a".jpg',
    "two\nlines.jpg",
    "\r\n",
    "=1+1.jpg",
    "猫.jpg",
    "caf\\udce9.jpg",
    "\0.jpg",
    "x" * 300_000,
]


def test_any_name_is_one_line_and_known_again(path: Path) -> None:
    table = ErrorTable(path, keep=False)
    for key in AWKWARD:
        add(table, key, f"{key} cannot be\nread")
    lines = path.read_bytes().splitlines()
    assert len(lines) == 1 + len(AWKWARD)
    assert max(map(len, lines)) < 20_000
    assert len(read(path)) == len(AWKWARD)
    again = ErrorTable(path, keep=True)
    assert all(key in again for key in AWKWARD)
    assert "x" * 299_999 not in again
    assert path.read_bytes().splitlines() == lines


@pytest.mark.parametrize(
    "damage",
    [
        b"torn.jpg,ima",
        b'torn.jpg,image,"half a mess',
        b"glued.jpg,imagglued.jpg,image,message\r\n",
        b'open.jpg,image,"never closed\r\n',
        b"\0" * 5000,
        b"latin\xe9.jpg,image,message\r\n",
        b"long.jpg,image," + b"x" * 1_000_000 + b"\r\n",
        b"\r\n",
    ],
)
def test_what_is_damaged_is_left_out_and_tried_again(damage: bytes, path: Path) -> None:
    path.write_bytes(HEADER + b"first.jpg,image,message\r\n" + damage)
    table = ErrorTable(path, keep=True)
    assert "first.jpg" in table
    assert not any(f"{name}.jpg" in table for name in ("torn", "open", "long"))
    add(table, "new.jpg")
    assert read(path) == ["first.jpg", "new.jpg"]
    assert path.read_bytes().startswith(HEADER)


def test_damage_in_the_middle_costs_its_own_line_only(path: Path) -> None:
    path.write_bytes(HEADER + b'a.jpg,image,m\r\nb.jpg,"im\r\nc.jpg,image,m\r\n')
    table = ErrorTable(path, keep=True)
    assert ["a.jpg" in table, "b.jpg" in table, "c.jpg" in table] == [True, False, True]
    assert read(path) == ["a.jpg", "c.jpg"]


@pytest.mark.parametrize("torn", [b"", b"ima", HEADER[:-1]])
def test_a_header_that_was_torn(torn: bytes, path: Path) -> None:
    path.write_bytes(torn)
    add(ErrorTable(path, keep=True), "new.jpg")
    assert read(path) == ["new.jpg"]


def test_something_else_of_that_name(path: Path) -> None:
    path.write_bytes(b"name;price\n")
    with pytest.raises(OutputError, match="does not begin with image,kind,message"):
        ErrorTable(path, keep=True)
    path.unlink()
    for make in (os.mkdir, *([os.mkfifo] if hasattr(os, "mkfifo") else [])):
        make(path)
        with pytest.raises(OutputError, match=r"Cannot write .*errors\.csv"):
            ErrorTable(path, keep=False)
        path.rmdir() if path.is_dir() else path.unlink()


def test_an_outdated_table_goes_with_the_first_result(path: Path) -> None:
    path.write_bytes(HEADER + b"a.jpg,image,m\r\n")
    table = ErrorTable(path, keep=False)
    assert path.exists()
    assert "a.jpg" not in table
    table.begin()
    assert not path.exists()
    add(table, "b.jpg")
    assert read(path) == ["b.jpg"]


def test_a_full_disk_tears_no_line(tmp_path: Path, run_cli: RunCli, tiny_model: Path) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "photos").mkdir()
    for number in range(30):
        (tmp_path / "photos" / f"{number:02d}.jpg").write_bytes(b"no picture")
    command = ("explain", "photos", "-m", tiny_model, "--segmenter", "grid", "-o", "out")
    before: list[str] = []
    for limit in (1000, 1777, 2500):
        full = run_cli(
            *command,
            "--resume",
            env=UNMEASURED,
            preexec_fn=lambda size=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )
        assert (full.returncode, "Traceback" in full.stderr) == (2, False), full.stderr
        assert "errors.csv: File too large" in full.stderr
        now = read(tmp_path / "out" / "errors.csv")
        assert now[: len(before)] == before
        assert len(before) < len(now) < 30
        before = now
    done = run_cli(*command, "--resume")
    assert f"30 of 30 images could not be explained, {len(before)} of them earlier" in done.stderr
    assert read(tmp_path / "out" / "errors.csv") == [f"photos/{number:02d}.jpg" for number in range(30)]


def test_a_name_of_200_000_characters(tmp_path: Path, run_cli: RunCli, tiny_model: Path, photo: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("n" * 200_000 + ".png"), io.BytesIO())
        archive.add(photo, "good.png")
    command = ("explain", "shard.tar", "-m", tiny_model, "--segmenter", "grid", "--pictures", "0", "-o", "out")
    assert run_cli(*command).returncode == 1
    again = run_cli(*command, "--resume")
    assert (again.returncode, "Traceback" in again.stderr) == (1, False), again.stderr
    assert "1 finished earlier; 1 failed earlier" in again.stdout


@pytest.mark.parametrize("key", ["=1+1.png", "+a.png", "-a.png", "@a.png", f"{HOSTILE}.png", HOSTILE * 300])
def test_neither_a_terminal_nor_a_spreadsheet_obeys_a_name(path: Path, key: str) -> None:
    table = ErrorTable(path, keep=False)
    add(table, key, f"{key} cannot be read")
    assert left_raw(path.read_bytes()) == []
    with path.open(newline="", encoding="utf-8") as file:
        _, row = csv.reader(file)
    assert not any(column.startswith(("=", "+", "-", "@", "\t")) for column in row)
    assert key in ErrorTable(path, keep=True)


def test_a_link_is_no_table(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.csv"
    target.write_bytes(HEADER)
    path.symlink_to(target)
    for keep in (False, True):
        with pytest.raises(OutputError, match="is a link"):
            ErrorTable(path, keep=keep)
    assert target.read_bytes() == HEADER
