"""A folder is held by one run, whichever way that ends; those who share it keep out whoever wants it for himself."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from secam_onnx.errors import OutputError
from secam_onnx.files import FolderLock, folder_lock, remove_leftovers

HOLD = "import sys; from pathlib import Path; from secam_onnx.files import FolderLock; lock = FolderLock(Path('out'));"


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with FolderLock(out) as lock:
        assert lock.held
        with pytest.raises(OutputError, match=rf"out is in use by another run \(process {os.getpid()} on .*-o"):
            FolderLock(out)
        with pytest.raises(OutputError, match="in use"):
            FolderLock(out, shared=True)
        (out / "result").touch()
    assert [path.name for path in out.iterdir()] == ["result"]
    FolderLock(out).release()


def test_a_folder_that_was_made_in_vain_is_removed(tmp_path: Path) -> None:
    FolderLock(tmp_path / "out").release()
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    FolderLock(tmp_path / "out").release()
    assert (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no shared locks")
def test_several_share_a_folder(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path, shared=True), FolderLock(tmp_path, shared=True)
    first.release()
    with pytest.raises(OutputError, match="in use by another run"):
        FolderLock(tmp_path)
    second.release()
    with FolderLock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("end", ["input()", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_killed_holder_is_taken_over(end: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"{HOLD} print('held', flush=True); {end}"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        if end == "input()":
            with pytest.raises(OutputError, match=f"process {process.pid} on "):
                FolderLock(tmp_path / "out")
            process.kill()
        process.wait(30)
    assert (tmp_path / "out" / ".secam-lock").exists()
    with FolderLock(tmp_path / "out"):
        assert str(os.getpid()) in (tmp_path / "out" / ".secam-lock").read_text(encoding="utf-8")


def test_a_lock_whose_file_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder ended between the opening and the locking: whoever comes next makes a new file."""
    lock, calls = folder_lock._lock, []

    def removed_before(descriptor: int, shared: bool) -> bool:
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / ".secam-lock").unlink()
        return lock(descriptor, shared)

    monkeypatch.setattr(folder_lock, "_lock", removed_before)
    with FolderLock(tmp_path), pytest.raises(OutputError, match="in use"):
        FolderLock(tmp_path)
    assert len(calls) == 4


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock, "_lock", none)
    with FolderLock(tmp_path) as lock, FolderLock(tmp_path):
        assert not lock.held
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes")
@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_something_else_of_that_name(kind: str, tmp_path: Path) -> None:
    place = tmp_path / ".secam-lock"
    {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to("/etc/passwd")}[kind](place)
    with pytest.raises(OutputError, match="Cannot write"):
        FolderLock(tmp_path)
    assert os.path.lexists(place)


def test_leftovers_below_another_runs_lock_are_its_own(tmp_path: Path) -> None:
    for folder in ("mine", "other"):
        (tmp_path / folder / "deep" / ".secam-1.tmp").mkdir(parents=True)
    with FolderLock(tmp_path), FolderLock(tmp_path / "other"):
        remove_leftovers(tmp_path, deep=True)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob(".secam-*")] == ["other/deep/.secam-1.tmp"]


@pytest.mark.skipif(not hasattr(os, "link"), reason="this system has no hard links")
def test_another_name_of_somebodys_file_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / "out").mkdir()
    os.link(tmp_path / "theirs", tmp_path / "out" / folder_lock.LOCK)
    with pytest.raises(OutputError, match="no file of a run"):
        FolderLock(tmp_path / "out")
    assert (tmp_path / "theirs").read_text() == "precious"
