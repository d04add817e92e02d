"""What the operating system refuses, or never gives, is an error of one image, and the others are found."""

from __future__ import annotations

import errno
import io
import os
import socket
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from secam_onnx import Explainer
from secam_onnx.batch.run import run
from secam_onnx.batch.sources import Item, Sources
from secam_onnx.errors import ImageError, OptionError
from secam_onnx.photograph.image_files import encoded_image, read_raster

MakePhotos = Callable[..., list[Path]]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="such files are made otherwise on Windows")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: MakePhotos) -> None:
    """Two photographs."""
    monkeypatch.chdir(tmp_path)
    photos(2)


def found(*names: str, **options: Any) -> tuple[list[str], dict[str, str]]:
    """Names of images that were found, and the errors."""
    items = list(Sources(names, **options).items())
    errors = {Path(item.key).name[:20]: str(item.error) for item in items if item.error}
    return [Path(item.key).name for item in items if not item.error], errors


GOOD = ["0000.jpg", "0001.jpg"]


def looping_link(place: Path) -> None:
    (place / "a.jpg").symlink_to("a.jpg")


def pipe(place: Path) -> None:
    os.mkfifo(place / "a.tar")


def pipe_compressed(place: Path) -> None:
    os.mkfifo(place / "a.tar.gz")


def device(place: Path) -> None:
    (place / "a.tar").symlink_to("/dev/zero")


def listening(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(place / "a.tar"))


@pytest.mark.parametrize("make", [looping_link, pipe, pipe_compressed, device, listening])
@pytest.mark.parametrize("name", ["photos", "photos/*", "**/*", "photos/*.*"])
def test_what_cannot_be_read_in_a_folder(make: Callable[[Path], None], name: str) -> None:
    make(Path("photos"))
    images, errors = found(name)
    assert [image for image in images if image in GOOD][:2] == GOOD
    # A link that loops is an image by its name when a pattern finds it, which is then read in vain.
    assert errors or (make is looping_link and "a.jpg" in images)


def test_pipes_named_one_by_one_and_in_a_list() -> None:
    for name in ("a.tar", "b.tgz"):
        os.mkfifo(name)
    Path("list.txt").write_bytes(b"a.tar\nphotos\n")
    images, errors = found("b.tgz", lists="list.txt")
    assert images == GOOD
    assert "named pipe" in errors["a.tar"]
    assert "named pipe" in errors["b.tgz"]


def test_images_that_are_no_files() -> None:
    os.mkfifo("pipe.png")
    Path("device.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "device.png"):
        for read in (read_raster, encoded_image):
            with pytest.raises(ImageError, match=f"^{name} is a pipe, a device or a socket; give the path"):
                read(name)


def test_an_image_that_becomes_a_pipe_is_not_waited_for(monkeypatch) -> None:
    os.mkfifo("pipe.png")
    monkeypatch.setattr("secam_onnx.files.reading.regular_file", lambda path: None)
    with pytest.raises(ImageError, match=r"^pipe.png is a pipe, a device or a socket; give the path"):
        read_raster("pipe.png")


def test_images_that_the_system_does_not_open() -> None:
    Path("c.png").symlink_to("c.png")
    for name, reason in {"c.png": "symbolic links", "n" * 300: "too long"}.items():
        with pytest.raises(ImageError, match=rf"^{name} cannot be read: [^']*{reason}\. Check its path and perm"):
            read_raster(name)


def test_links_to_their_own_folder_are_no_way_down() -> None:
    """With two of them the pattern had 2^40 matches."""
    for name in ("one", "two"):
        Path("photos", name).symlink_to(".")
    for pattern in ("photos/**/*.jpg", "**/*.jpg", "photos/**"):
        images, errors = found(pattern)
        assert images == GOOD
        assert not errors


def test_folders_deeper_than_pythons_stack() -> None:
    places = [Path("photos", *["d"] * depth) for depth in range(1, 1500)]
    for place in places:
        place.mkdir()
    Path(places[-1], "2.jpg").write_bytes(b"")
    items = list(Sources(["photos"]).items())
    assert [Path(item.key).name for item in items if not item.error] == [*GOOD, "2.jpg"]
    assert len(items[-1].folder) < 200
    assert found("photos/**/*.jpg")[0] == [*GOOD, "2.jpg"]
    Path(places[-1], "2.jpg").unlink()
    for place in reversed(places):  # Python's own stack is too short for removing them at once
        place.rmdir()


def test_lines_of_a_list_that_can_be_no_file(tiny: Explainer) -> None:
    lines = [b"photos/0000.jpg", b"n" * 300, b"photos", b"a/" * 3000, b"b\0ad", b".", b"..", b"photos/0000.jpg/x", b" "]
    Path("list.txt").write_bytes(b"\n".join(lines))

    class Kept:
        needs_images, locked = False, True
        written = 0
        errors: dict[str, str]

        def __init__(self) -> None:
            self.errors = {}

        finished = failed = lambda *_: False
        encode = lambda *_: None  # noqa: E731
        flush = close = lambda *_: None

        def add(self, item: Item, encoded: Any) -> None:
            self.written += 1

        def fail(self, item: Item, error: Exception) -> None:
            self.errors[item.key] = str(error)

    Path("..", Path.cwd().name, "empty").mkdir()
    sink = Kept()
    os.chdir("empty")
    totals = run(tiny, Sources([], "../list.txt", exclude=".."), sink)
    assert totals.failed >= 5
    os.chdir("..")
    sink = Kept()
    totals = run(tiny, Sources([], "list.txt", exclude=".."), sink)
    assert totals.explained == 2
    assert {"n" * 300, "b\0ad", " ", "photos/0000.jpg/x"} <= set(sink.errors)


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    for name in ("/dev/zero", "long.txt"):
        Path("long.txt").write_bytes(b"x" * 1_000_000)
        with pytest.raises(OptionError, match="one image, folder or shard per line"):
            found(lists=name)
    Path("long.txt").write_bytes(b"\xff\xfe" + "x".encode("utf-16-le") * 1_000_000)
    with pytest.raises(OptionError, match="one image, folder or shard per line"):
        found(lists="long.txt")


def test_a_list_in_a_pipe_is_read_once() -> None:
    """As of `--from-list <(find ...)`; whoever counts the images leaves it alone."""
    os.mkfifo("list")
    sources = Sources([], "list")
    assert not sources.countable
    writer = threading.Thread(target=lambda: Path("list").write_bytes(b"photos\n"))
    writer.start()
    assert len(list(sources.items())) == 2
    writer.join()


class Refusing:
    """The operating system, in a mood: some paths give errors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, refused: str) -> None:
        self.error = OSError(number, os.strerror(number))
        self.refused = refused
        for name in ("stat", "open", "scandir"):
            monkeypatch.setattr(os, name, self.checked(getattr(os, name)))

    def checked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and self.refused in str(path):
                raise self.error
            result = call(path, *arguments, **options)
            return Entries(result, self) if call.__name__ == "scandir" else result

        return checked


class Entries:
    """Of a folder whose file system does not say what they are."""

    def __init__(self, found: Any, system: Refusing) -> None:
        self.found, self.system = found, system

    def __enter__(self) -> Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self.found.close()

    def __iter__(self) -> Iterator[Any]:
        return (Entry(entry, self.system) for entry in self.found)


class Entry:
    def __init__(self, entry: os.DirEntry[str], system: Refusing) -> None:
        self.entry, self.system = entry, system
        self.name, self.path = entry.name, entry.path

    def is_dir(self, **options: bool) -> bool:
        if self.system.refused in self.path:
            raise self.system.error
        return self.entry.is_dir(**options)


NUMBERS = ["EACCES", "ESTALE", "EIO", "ENXIO", "EPERM", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "ETIMEDOUT", "ENOTCONN"]


@pytest.mark.parametrize("name", ["photos", "photos/**", "photos/*"])
@pytest.mark.parametrize("refused", ["sub", "x.jpg", "s.tar"])
@pytest.mark.parametrize("number", NUMBERS)
def test_errors_of_the_operating_system(
    number: str, refused: str, name: str, photos: MakePhotos, monkeypatch: pytest.MonkeyPatch, tiny: Explainer
) -> None:
    photos(1, "photos/sub", first=5)
    for file in ("x.jpg", "s.tar"):
        Path("photos", file).write_bytes(b"")
    with monkeypatch.context() as patch:
        Refusing(patch, getattr(errno, number), refused)
        images, errors = found(name)
    assert set(images) >= set(GOOD)
    assert refused in errors or refused in images or (number == "ENOTDIR" and refused == "sub") or name != "photos"


def test_members_of_archives_with_names_that_no_folder_takes() -> None:
    faces = "/".join(["\U0001f600" * 37] * 26)  # below 1000 characters, and near 4000 bytes
    names = [
        "a.png",
        "a.png/x.png",
        f"{faces}/c.png",
        "猫" * 900 + ".png",
        "/".join(["猫" * 40] * 30) + "/b.png",
        "errors.csv/x.png",
    ]
    with tarfile.open("shard.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    folders = [item.folder for item in Sources(["shard.tar"]).items()]
    assert len(set(folders)) == len(names)
    for folder in folders:
        Path("out", folder).mkdir(parents=True)
        assert len(os.fsencode(folder)) < 1100


def test_no_image_lies_in_another_ones_folder_nor_takes_a_name_of_ours(photos: MakePhotos) -> None:
    photos(1, "cats", first=0)
    photos(1, "deep/cats", first=0)
    single = ["errors.csv.png", ".secam-lock.png", "part-0.parquet.png", "Errors.CSV.jpg", "_errors.jpg"]
    for name in ("cats.png", *single):
        Path(name).write_bytes(b"")
    Path("errors.csv").mkdir()
    Path("errors.csv/y.png").write_bytes(b"")
    Path("list.txt").write_bytes(b"cats/0000.jpg\nerrors.csv/y.png\nCats/0000.JPG\n")
    items = list(Sources(["cats.png", "deep/cats", "cats/*.jpg", *single], "list.txt").items())
    folders = [item.folder.casefold() for item in items]
    assert len(set(folders)) == len(items)
    for folder in folders:
        assert not any(other.startswith(f"{folder}/") for other in folders)
        first = folder.split("/")[0]
        assert first not in ("errors.csv", "_errors")
        assert not first.startswith(".secam-")
        assert not first.endswith(".parquet")


def test_the_folder_that_we_are_in_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("here").mkdir()
    monkeypatch.chdir("here")
    (tmp_path / "here").rmdir()
    items = list(Sources([str(tmp_path / "photos")], exclude=tmp_path / "out").items())
    assert len(items) == 2
    if sys.platform == "linux":
        assert found("0000.jpg")[0] == ["0000.jpg"], "which is then read in vain"
