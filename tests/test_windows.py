"""Commands under the rules of Windows, as far as Linux can keep them (see `windows_rules`)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner
from PIL import Image

from secam_onnx import cli, files
from secam_onnx.batch.folder_names import folder_name, unique_stems
from secam_onnx.errors import OutputError
from secam_onnx.files import writing

if not Path("/proc/self/fd").exists():
    pytest.skip("what is open is read from /proc", allow_module_level=True)

from windows_rules import as_on_windows

Run = Callable[..., str]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and two photographs, in which Windows's rules hold from now on."""
    (tmp_path / "tiny.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    (tmp_path / "photos").mkdir()
    for shade, name in enumerate(("a.png", "B.png")):
        Image.new("RGB", (50, 40), (shade * 99, 90, 30)).save(tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path)
    as_on_windows(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture
def run(room: Path) -> Run:
    """Run a command in this process; gives what it printed."""

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(cli.command, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert not [*room.rglob(".secam-*")]
        return result.output

    return invoke


_IMPORTS = """
import importlib, os, pkgutil, signal, socket, sys
for module, names in (
    (os, ["fork", "sched_getaffinity", "getuid", "statvfs"]),
    (signal, ["SIGKILL", "SIGHUP", "SIGUSR1"]),
    (socket, ["SO_REUSEPORT", "AF_UNIX"]),
):
    for name in names:
        delattr(module, name)
sys.modules.update(dict.fromkeys(["fcntl", "resource", "pwd", "grp"]))
import secam_onnx
for entry in pkgutil.walk_packages(secam_onnx.__path__, "secam_onnx."):
    if not entry.name.startswith(("secam_onnx.serve", "secam_onnx.export.", "secam_onnx.__main__")):
        importlib.import_module(entry.name)
from secam_onnx.threads import cores
print(cores())
"""
EXPLAIN = ("explain", "photos", "-m", "tiny.onnx", "--preprocess", "unit")


@pytest.mark.parametrize("options", [(), ("--fused",)], ids=["explainable", "fused"])
def test_export_and_export_again(run: Run, room: Path, options: tuple[str, ...]) -> None:
    run("export", "tiny.onnx", "-o", "out.onnx", *options)
    before = (room / "out.onnx").stat().st_ino
    run("export", "tiny.onnx", "-o", "out.onnx", "--force", *options)
    assert (room / "out.onnx").stat().st_ino != before
    run("inspect", "out.onnx")


def test_export_with_a_data_file(run: Run, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secam_onnx.graph.onnx_file.EXTERNAL_DATA_LIMIT", 100)
    (room / "tiny.onnx").write_bytes(tiny_models.classifier("flatten+fc", classes=50).SerializeToString())
    for force in ((), ("--force",)):
        run("export", "tiny.onnx", "-o", "out.onnx", *force)
        assert len([*room.glob("out.onnx.*.data")]) == 1
    run("explain", "photos", "-m", "out.onnx")


def test_folders_twice_and_resumed(run: Run, room: Path) -> None:
    run(*EXPLAIN, "-o", "out")
    run(*EXPLAIN, "-o", "out")  # earlier results are replaced
    (room / "photos" / "cut.png").write_bytes(b"no picture")
    result = CliRunner().invoke(cli.command, [*EXPLAIN, "-o", "out", "--resume"])
    assert result.exit_code == 1, result.output
    assert "2 finished earlier" in result.output
    assert sorted(path.parent.name for path in (room / "out").rglob("explanation.json")) == ["B.png", "a.png"]
    assert "cut.png" in (room / "out" / "errors.csv").read_text(encoding="utf-8")


def test_parquet_and_resumed(run: Run, room: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run(*EXPLAIN, "-o", "out", "--to", "parquet")
    Image.new("RGB", (50, 40)).save(room / "photos" / "c.png")
    assert "2 finished earlier" in run(*EXPLAIN, "-o", "out", "--to", "parquet", "--resume")
    assert parquet.read_table(room / "out").num_rows == 3


def test_the_page_as_files_twice(run: Run, room: Path) -> None:
    for _ in range(2):
        run("demo", "-m", "tiny.onnx", "--static", "site")
    assert (room / "site" / "index.html").is_file()


def test_patterns_are_expanded_here_as_shells_there_do_not(run: Run) -> None:
    assert "2 images" in run("explain", "photos/*.png", "-m", "tiny.onnx", "--preprocess", "unit", "--pictures", "0")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"], ids=["Out-File -Encoding utf8", "> in PowerShell 5"])
def test_a_list_as_powershell_writes_it(run: Run, room: Path, encoding: str) -> None:
    photograph = room / "photos" / "mötley 猫.png"
    shutil.copy(room / "photos" / "a.png", photograph)
    (room / "list.txt").write_text("photos/a.png\r\nphotos/mötley 猫.png\r\n", encoding=encoding, newline="")
    run("explain", "--from-list", "list.txt", "-m", "tiny.onnx", "--preprocess", "unit", "-o", "out")
    assert len([*(room / "out").rglob("explanation.json")]) == 2


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("aux.png", "aux_"),
        ("NUL.tar.png", "NUL_"),
        ("com1", "com1_"),
        ("why?.png", "why_"),
        ("12:30.png", "12_30"),
        ("dots...png", "dots"),
        ("caf\udce9.png", "caf_udce9"),
        ("auxiliary.png", "auxiliary"),
        ("icon.png", "icon"),
    ],
)
def test_results_of_photographs_with_names_that_windows_does_not_take(name: str, folder: str, room: Path) -> None:
    assert unique_stems([name]) == [folder]
    for found in (unique_stems([name])[0], folder_name(name), folder_name(f"con/{name}")):
        (room / found).mkdir(parents=True, exist_ok=True)  # the rules let it pass


def test_one_name_for_several_folders_where_case_counts_for_nothing(room: Path) -> None:
    assert unique_stems(["aux.png", "AUX.png", "aux_.png"]) == ["aux_", "AUX_-2", "aux_-3"]


def test_a_moment_in_which_another_program_has_the_file(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PAUSES", (0.0, 0.0))
    target = room / "out.txt"
    target.write_text("old", encoding="utf-8")
    held = target.open("rb")
    monkeypatch.setattr(writing.time, "sleep", lambda _: held.close())
    with files.new_file(target) as temporary:
        temporary.write_text("new", encoding="utf-8")
    assert target.read_text(encoding="utf-8") == "new"


def test_a_result_that_another_program_has_open_stays_whole(room: Path) -> None:
    for writer, content in ((files.new_file, room / "out"), (files.new_folder, room / "folder" / "part")):
        content.parent.mkdir(exist_ok=True)
        content.write_text("old", encoding="utf-8")
        target = content if writer is files.new_file else content.parent

        def replace(writer=writer, target=target) -> None:
            with writer(target) as temporary:
                (temporary / "part" if temporary.is_dir() else temporary).write_text("new", encoding="utf-8")

        with content.open("rb"), pytest.raises(OutputError, match="another process"):
            replace()
        assert content.read_text(encoding="utf-8") == "old"
        assert not [*room.rglob(".secam-*")]


def test_what_windows_has_not_is_not_needed_to_import(room: Path) -> None:
    """In a process of its own, in which nothing was imported before."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


def test_the_rules_are_kept(room: Path) -> None:
    """Or the tests above would show nothing."""
    file = room / "file"
    file.write_text("x", encoding="utf-8")
    with file.open("rb") as handle, pytest.raises(OSError, match="Bad file descriptor"):
        os.fsync(handle.fileno())
    with pytest.raises(PermissionError):
        os.open(room, os.O_RDONLY)
    with file.open("rb"), pytest.raises(PermissionError):
        file.unlink()
    with pytest.raises(OSError, match="invalid"):
        (room / "aux.png").mkdir()
    assert not hasattr(socket, "SO_REUSEPORT")
    file.write_bytes("猫".encode())
    assert file.read_text() == "çŒ«"
