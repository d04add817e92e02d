"""From what a user names to images: what is found, under which key, and that it is found lazily."""

from __future__ import annotations

import io
import itertools
import os
import sys
import tarfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secam_onnx.batch import listing as module
from secam_onnx.batch.sources import Sources
from secam_onnx.errors import OptionError
from secam_onnx.photograph.images import EncodedImage

MakePhotos = Callable[..., list[Path]]
MakeShard = Callable[..., Path]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def keys(*names: str, **options: object) -> list[str]:
    return [item.key for item in Sources(names, **options).items()]  # type: ignore[arg-type]


def test_members_whose_names_differ_in_case_or_in_accents_alone(shard: MakeShard, tmp_path: Path) -> None:
    """On Windows and macOS their results would lie in one folder."""
    names = ["a.jpg", "A.JPG", "caf\u00e9.jpg", "cafe\u0301.jpg", "b.jpg", "a.jpg"]
    with tarfile.open(tmp_path / "case.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    met = []
    found = list(Sources(["case.tar"]).items(lambda key, folder: key not in met and not met.append(key)))
    assert [item.key for item in found] == [f"case.tar/{name}" for name in names[:-1]]
    assert [item.folder for item in found][:1] + [item.folder for item in found][-1:] == ["case/a.jpg", "case/b.jpg"]
    folded = {unicodedata.normalize("NFC", item.folder).casefold() for item in found}
    assert len(folded) == 5


def test_files_folders_patterns_and_shards_together(photos: MakePhotos, shard: MakeShard) -> None:
    photos(2)
    photos(2, "photos/sub/deep", first=2)
    photos(2, "others", first=4)
    photos(1, "single", first=6)
    shard(2, first=7)
    names = ["single/0006.jpg", "photos", "others/*.jpg", "shard.tar"]
    found = list(Sources(names).items())
    assert [(item.key, item.folder) for item in found] == [
        ("single/0006.jpg", "0006"),
        ("photos/0000.jpg", "photos/0000.jpg"),
        ("photos/0001.jpg", "photos/0001.jpg"),
        ("photos/sub/deep/0002.jpg", "photos/sub/deep/0002.jpg"),
        ("photos/sub/deep/0003.jpg", "photos/sub/deep/0003.jpg"),
        ("others/0004.jpg", "others/0004.jpg"),
        ("others/0005.jpg", "others/0005.jpg"),
        ("shard.tar/0007.jpg", "shard/0007.jpg"),
        ("shard.tar/0008.jpg", "shard/0008.jpg"),
    ]
    for item in found:
        if isinstance(item.image, EncodedImage):
            assert (item.image.name, item.image.data[:2]) == (item.key, b"\xff\xd8")
        else:
            assert Path(item.image).exists()
    assert Sources(names).count() == len(found)
    assert Sources(names).files is None
    assert Sources(names[:1]).files == 1


def test_a_folder_is_searched_to_the_bottom_for_images_and_shards(photos: MakePhotos, shard: MakeShard) -> None:
    photos(1)
    photos(1, "photos/.hidden")
    photos(1, "elsewhere", first=5)
    for name in ("notes.txt", ".0001.jpg", "0002.JPEG", "model.onnx"):
        Path("photos", name).write_bytes(b"")
    shard(1, "photos/shard.tar", first=9)
    for name in ("loop", "loop.jpg"):
        Path("photos", name).symlink_to("..")
    Path("photos/linked.jpg").symlink_to("../elsewhere/0005.jpg")
    assert keys("photos") == ["photos/0000.jpg", "photos/0002.JPEG", "photos/linked.jpg", "photos/shard.tar/0009.jpg"]
    assert keys("photos/") == keys("photos")
    assert keys("./photos") == keys("photos")


def test_the_folder_of_the_results_is_left_out(photos: MakePhotos) -> None:
    photos(1)
    photos(1, "photos/out", first=1)
    assert keys(".", exclude="photos/out") == ["photos/0000.jpg"]
    assert len(keys(".", exclude="elsewhere")) == 2


def test_patterns_leave_out_the_folder_of_the_results(photos: MakePhotos) -> None:
    """A second run would explain the first one's pictures, and a third one those of both."""
    photos(1)
    photos(1, "out/photos/0000.jpg", first=1)
    Path("link").symlink_to("out")
    for name in ("*", "**/*.jpg", "**", "out/**", "out/photos/*/*.jpg", "link/**/*", "*/*/*/*.jpg"):
        found = {item.key for item in Sources([name], exclude="out").items() if item.error is None}
        assert found <= {"photos/0000.jpg"}, name
        assert bool(found) == (name in ("*", "**/*.jpg", "**"))


def test_two_folders_of_one_name_have_results_of_their_own(photos: MakePhotos) -> None:
    photos(1, "a/train")
    photos(1, "b/train")
    assert [item.folder for item in Sources(["a/train", "b/train"]).items()] == ["train/0000.jpg", "train-2/0000.jpg"]


@pytest.mark.parametrize("stdin", [False, True])
def test_a_list(stdin: bool, photos: MakePhotos, shard: MakeShard, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(2, "photos/sub")
    (absolute,) = photos(1, "elsewhere", first=3)
    shard(1, first=4)
    text = f"photos/sub/0001.jpg\r\n\n{absolute}\nphotos\nshard.tar\nphotos/0000 [1].jpg\n".encode() + b"caf\xe9.jpg"
    Path("list.txt").write_bytes(text)
    if stdin:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
    sources = Sources([], "-" if stdin else "list.txt")
    assert sources.countable != stdin
    met: list[str] = []
    wanted = lambda key, folder: key not in met and not met.append(key)  # noqa: E731
    found = {item.key: item.folder for item in sources.items(wanted)}
    assert list(found) == [
        "photos/sub/0001.jpg",
        str(absolute),
        "photos/sub/0000.jpg",
        "shard.tar/0004.jpg",
        "photos/0000 [1].jpg",
        "caf\\udce9.jpg",
    ]
    assert found["photos/sub/0001.jpg"] == "photos/sub/0001.jpg"
    assert found["shard.tar/0004.jpg"] == "shard.tar/0004.jpg"
    assert len(set(found.values())) == len(found)


def test_a_list_is_read_as_it_comes() -> None:
    """Line by line: whoever writes it may still be writing."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb", buffering=0) as lines, os.fdopen(reader, "rb", buffering=0) as handle:
        sys_stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BufferedReader(handle), encoding="utf-8")
        try:
            items = Sources([], "-").items()
            for number in range(3):
                lines.write(f"{number}.jpg\n".encode())
                assert next(items).key == f"{number}.jpg"
        finally:
            sys.stdin = sys_stdin


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0")
    with pytest.raises(OptionError, match=r"photo\.jpg is not a text file; one image, folder or shard per line"):
        list(Sources([], str(tmp_path / "photo.jpg")).items())


def test_a_pattern_finds_images_only_and_each_folder_by_itself(photos: MakePhotos) -> None:
    photos(2, "photos/one")
    photos(1, "photos/two")
    Path("photos/notes.txt").touch()
    assert keys("photos/*") == ["photos/one/0000.jpg", "photos/one/0001.jpg", "photos/two/0000.jpg"]
    assert set(keys("photos/**/*1.jpg")) == {"photos/one/0001.jpg"}
    Path("a[1].jpg").touch()
    assert keys("a[1].jpg") == ["a[1].jpg"]


def test_what_is_missing_is_an_error_of_its_own(photos: MakePhotos) -> None:
    photos(1)
    found = list(Sources(["nothing/*.jpg", "gone.tar", "photos"]).items())
    assert [item.key for item in found] == ["nothing/*.jpg", "gone.tar", "photos/0000.jpg"]
    assert "matches nothing" in str(found[0].error)
    assert "does not exist" in str(found[1].error)
    assert found[2].error is None


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator may read everything")
def test_a_folder_that_may_not_be_read(photos: MakePhotos) -> None:
    photos(1)
    Path("closed").mkdir(mode=0)
    (item,) = Sources(["closed"]).items()
    assert "cannot be read" in str(item.error)


def test_only_what_is_wanted_is_read(photos: MakePhotos, shard: MakeShard) -> None:
    photos(3)
    shard(3)
    wanted = {"photos/0001.jpg", "shard.tar/0002.jpg"}
    asked = []

    def ask(key: str, folder: str) -> bool:
        asked.append((key, folder))
        return key in wanted

    assert {item.key for item in Sources(["photos", "shard.tar"]).items(ask)} == wanted
    assert len(asked) == 6
    assert ("shard.tar/0002.jpg", "shard/0002.jpg") in asked


def test_a_long_folder_is_not_listed_at_once(photos: MakePhotos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SORTED", 10)
    taken = 0

    def entries() -> Iterator[int]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield number

    assert list(itertools.islice(module._in_order(entries()), 25)) == list(range(25))
    assert taken == 30
    photos(35)
    assert sorted(keys("photos")) == [f"photos/{number:04d}.jpg" for number in range(35)]


def test_wrong_arguments() -> None:
    with pytest.raises(OptionError, match="No image was named"):
        Sources([])
    with pytest.raises(OptionError, match="name is empty"):
        Sources(["a.jpg", ""])
    with pytest.raises(OptionError, match=r"Cannot read the list gone.txt.*one image per line"):
        keys(lists="gone.txt")


def test_arrays_are_images_where_they_are_asked_for(tmp_path: Path) -> None:
    """And elsewhere perhaps label maps."""
    for name in ("a.npy", "b.npy", "c.png"):
        (tmp_path / name).write_bytes(b"some")

    def found(name: str) -> list[str]:
        return [Path(item.key).name for item in Sources([str(tmp_path / name)]).items() if item.error is None]

    assert found("*.npy") == ["a.npy", "b.npy"]
    assert found("a.npy") == ["a.npy"]
    assert found("*") == ["c.png"]
    assert found("") == ["c.png"]
