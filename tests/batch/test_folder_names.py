"""Folders for results: harmless names stay, others become harmless and stay apart."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from secam_onnx.batch.folder_names import folder_name, unique_stems


def test_stems_are_numbered_where_several_share_one() -> None:
    names = ["a/cat.png", "b/cat.png", "b/Cat.png", "cat-2.png", "shard.tar"]
    assert unique_stems(names) == ["cat", "cat-2", "Cat-3", "cat-2-2", "shard"]
    assert unique_stems(["a/shard.tar.gz", "shard.tgz", "photo.tar.jpg"]) == ["shard", "shard-2", "photo"]
    assert unique_stems(["."]) == [Path.cwd().name]
    assert all(part not in ("", ".", "..") for part in unique_stems(["..", "/", "../.."]))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a.jpg", "a.jpg"),
        ("sub/a b.jpg", "sub/a b.jpg"),
        ("./sub//猫.png", "sub/猫.png"),
        ("a.tar/b.jpg", "a.tar/b.jpg"),
    ],
)
def test_harmless_names_stay(name: str, folder: str) -> None:
    assert folder_name(name) == folder


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/a.jpg",
        "/etc/a.jpg",
        "a/../b.jpg",
        "C:\\windows\\a.jpg",
        "a\x00b\n.jpg",
        "con?.jpg",
        "x" * 300 + ".jpg",
        "/".join(["deep"] * 1000) + "/a.jpg",
        "a.jpg/b.jpg",
        "dots. /a.jpg",
        "caf\udce9.jpg",
        "..",
        "",
        "猫" * 200,
    ],
)
def test_other_names_become_harmless(name: str, tmp_path: Path) -> None:
    folder = folder_name(name)
    assert folder == folder_name(name)
    parts = PurePosixPath(folder).parts
    assert parts
    assert not PurePosixPath(folder).is_absolute()
    assert ".." not in parts
    assert "a.jpg" not in parts[:-1]
    (tmp_path / folder).mkdir(parents=True)
    assert (tmp_path / folder).resolve().is_relative_to(tmp_path.resolve())


def test_names_that_become_alike_stay_apart() -> None:
    names = ["../a.jpg", "/a.jpg", "a.jpg", "..//a.jpg", "__/a.jpg", "../../a.jpg", "x" * 300, "x" * 301]
    assert len({folder_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("odd", ["\x1b[2J", "\x07", "\x9b31m", "\u202e", "\u2066", "\u200f", "\u2028", "\\"])
def test_no_folder_has_a_name_that_a_terminal_obeys(odd: str) -> None:
    name = folder_name(f"sub/a{odd}b.jpg")
    assert name.startswith("sub/a_")
    assert name.isprintable()
    assert name != folder_name("sub/a_b.jpg")
