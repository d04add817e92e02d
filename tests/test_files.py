import errno
import os
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from secam_onnx.errors import ModelError, OutputError
from secam_onnx.files import (
    NotRegularError,
    new_file,
    new_folder,
    open_regular,
    regular_file,
    remove_leftovers,
    remove_unfinished,
    unchanged,
    writing,
)

STOPS = [ValueError("stop"), KeyboardInterrupt(), SystemExit(3)]


def put(path: Path, text: str) -> None:
    (path / "part" if path.is_dir() else path).write_text(text)


def tree(folder: Path) -> dict[str, str]:
    """Every file under a folder, hidden ones too, and what it holds."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(params=[new_file, new_folder])
def writer(request) -> Callable:
    return request.param


def written(writer: Callable, path: Path, text: str = "new") -> Path:
    with writer(path) as temporary:
        put(temporary, text)
    return path


@pytest.mark.parametrize("before", [None, "old"])
def test_appears_when_the_block_ends(tmp_path, writer, before):
    target = tmp_path / "out"
    if before:
        written(writer, target, before)
    with writer(target) as temporary:
        put(temporary, "new")
        assert "new" not in [text for name, text in tree(tmp_path).items() if name.startswith("out")]
    assert tree(tmp_path) == {"out" if writer is new_file else "out/part": "new"}


def test_a_replaced_folder_keeps_nothing_of_the_old(tmp_path):
    target = tmp_path / "out"
    (target / "deep").mkdir(parents=True)
    (target / "deep" / "old.txt").write_text("old")
    written(new_folder, target)
    assert tree(tmp_path) == {"out/part": "new"}
    assert [path.name for path in target.iterdir()] == ["part"]


@pytest.mark.parametrize("stop", STOPS, ids=repr)
@pytest.mark.parametrize("before", [None, "old"])
def test_nothing_is_left_when_the_block_stops(tmp_path, writer, stop, before):
    target = tmp_path / "out"
    if before:
        written(writer, target, before)
    untouched = tree(tmp_path)

    def write() -> None:
        with writer(target) as temporary:
            put(temporary, "half")
            raise stop

    with pytest.raises(type(stop)) as caught:
        write()
    assert caught.value is stop
    assert tree(tmp_path) == untouched
    assert len(list(tmp_path.iterdir())) == bool(before)


def test_a_full_disk_is_an_output_error(tmp_path, writer):
    target = written(writer, tmp_path / "out", "old")
    untouched = tree(tmp_path)

    def write() -> None:
        with writer(target) as temporary:
            put(temporary, "half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=f"Cannot write {re.escape(str(target))}: No space left.*Nothing was changed"):
        write()
    assert tree(tmp_path) == untouched


def test_output_errors_of_the_block_pass_as_they_are(tmp_path, writer):
    error = OutputError("already explained")

    def write() -> None:
        with writer(tmp_path / "out"):
            raise error

    with pytest.raises(OutputError, match="already explained") as caught:
        write()
    assert caught.value is error


def test_a_file_as_the_parent(tmp_path, writer):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"Cannot write .*(directory|exists)"):
        written(writer, tmp_path / "file" / "out")
    assert tree(tmp_path) == {"file": "mine"}


def test_missing_parents(tmp_path):
    with pytest.raises(OutputError, match="No such file or directory"):
        written(new_file, tmp_path / "none" / "out")
    assert not (tmp_path / "none").exists()
    written(new_folder, tmp_path / "none" / "out")
    assert tree(tmp_path) == {"none/out/part": "new"}


def test_a_file_never_replaces_a_folder(tmp_path):
    written(new_folder, tmp_path / "out", "old")
    with pytest.raises(OutputError, match="directory"):
        written(new_file, tmp_path / "out")
    assert tree(tmp_path) == {"out/part": "old"}


def test_a_link_stays_and_leads_to_the_new_one(tmp_path, writer):
    real, link = written(writer, tmp_path / "real", "old"), tmp_path / "out"
    link.symlink_to(real)
    written(writer, link)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "real"]
    assert link.is_symlink()
    assert set(tree(tmp_path).values()) == {"new"}


def test_a_folder_over_a_file_leaves_no_debris(tmp_path):
    (tmp_path / "out").write_text("old")
    try:
        written(new_folder, tmp_path / "out")
    except OutputError:
        assert tree(tmp_path) == {"out": "old"}
    else:
        assert tree(tmp_path) == {"out/part": "new"}


def test_the_folder_that_we_are_in(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    try:
        written(new_folder, Path())
    except OutputError:
        assert tree(tmp_path) == {}
    else:
        assert tree(tmp_path) == {"here/part": "new"}


def test_the_longest_name_that_the_disk_takes(tmp_path, writer):
    name = "x" * 250
    (tmp_path / name).write_text("the disk takes it")
    (tmp_path / name).unlink()
    assert written(writer, tmp_path / name).exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")], ids=repr)
@pytest.mark.parametrize("later_moves_fail", [False, True])
def test_the_old_folder_survives_a_failed_swap(tmp_path, monkeypatch, stop, later_moves_fail):
    target = written(new_folder, tmp_path / "out", "old")
    rename, calls = Path.replace, []

    def failing(path: Path, to: Path) -> Path:
        # The old folder moves aside, and the stop comes just then; or the disk refuses every later move.
        calls.append(path)
        if later_moves_fail and len(calls) > 1:
            raise stop
        moved = rename(path, to)
        if not later_moves_fail and len(calls) == 1:
            raise stop
        return moved

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises((KeyboardInterrupt, OutputError)):
        written(new_folder, target)
    assert "old" in tree(tmp_path).values()


def test_what_changes_under_a_reader_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_text("first")
    other = tmp_path / "other"
    other.write_text("other")
    with unchanged(file):
        assert file.read_text() == "first"

    def changed(change: Callable[[], object]) -> None:
        with unchanged(file):
            change()
            raise ValueError("what came of that")

    for change in (lambda: file.write_text("longer"), lambda: other.replace(file), file.unlink):
        with pytest.raises(ModelError, match="was changed while it was read"):
            changed(change)
    with pytest.raises(ValueError, match="as before"), unchanged(file):
        raise ValueError("as before")


@pytest.mark.parametrize("moved_aside", [False, True])
def test_what_is_being_written_is_removed_by_a_program_that_ends_at_once(tmp_path, writer, moved_aside, monkeypatch):
    """Another thread may be at any step of it."""
    monkeypatch.setattr(writing, "_ended", threading.Event())
    target = written(writer, tmp_path / "out", "old")
    before = tree(tmp_path)
    if moved_aside and writer is new_file:
        pytest.skip("files are never moved aside")

    def write() -> None:
        with writer(target) as temporary:
            put(temporary, "half")
            if moved_aside:
                target.replace(temporary.with_suffix(".old"))
            remove_unfinished()
            assert tree(tmp_path) == before

    with pytest.raises(OutputError, match="No such file"):
        write()
    assert tree(tmp_path) == before
    with pytest.raises(OutputError, match="being stopped"):
        written(writer, target)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("deep", [False, True])
def test_leftovers_of_a_killed_program(tmp_path, deep):
    """The new result, and the old one that was moved aside."""
    place = tmp_path / "photos" if deep else tmp_path
    for name in (".secam-1.tmp", ".secam-1.old"):
        (place / name).mkdir(parents=True)
        (place / name / "part").write_text("half")
    (place / ".secam-2.tmp").write_text("half")
    (place / "mine").write_text("whole")
    remove_leftovers(tmp_path, deep=deep)
    assert [path.name for path in place.iterdir()] == ["mine"]


@pytest.mark.skipif(os.name == "nt", reason="such files are no paths on Windows")
def test_only_regular_files_are_opened_and_none_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    (tmp_path / "file").write_bytes(b"some")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo("pipe")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket")
    for name in ("file", "link"):
        assert regular_file(name).st_size == 4
        with open_regular(name) as handle:
            assert handle.name == name  # libraries ask for it
            assert handle.read() == b"some"
    refused = {
        "pipe": "named pipe",
        "socket": "socket",
        ".": "folder",
        "/dev/zero": "device",
        "loop": "symbolic links",
        "n" * 300: "too long",
        "a\0b": "no file can have such a name",
        "\ud800": "no file can have such a name",
        "gone": "No such file",
    }
    for name, words in refused.items():
        for act in (regular_file, open_regular):
            with pytest.raises(OSError, match=words):
                act(name)
    kinds = {".": IsADirectoryError, "pipe": NotRegularError, "socket": NotRegularError, "/dev/zero": NotRegularError}
    with listening:
        for name, kind in kinds.items():
            with pytest.raises(kind):
                open_regular(name)


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes")
def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("secam_onnx.files.reading.regular_file", lambda path: None)
    with pytest.raises(OSError, match="named pipe"):
        open_regular(tmp_path / "pipe")
