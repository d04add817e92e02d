"""Addresses in stores: what is found there, how it is called in results, and what is wrong with an address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from secam_onnx.batch.object_stores import RemoteImage, is_address, remote_images
from secam_onnx.batch.sources import Sources
from secam_onnx.errors import ImageError

MakePhotos = Callable[..., list[Path]]

pytest.importorskip("pyarrow")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s3://bucket/folder", True),
        ("gs://bucket/photo.jpg?anonymous=true", True),
        ("file:///photos", True),
        ("photos/a.jpg", False),
        ("C:\\photos\\a.jpg", False),
        ("C:/photos/a.jpg", False),
        ("/photos/a://b.jpg", False),
    ],
)
def test_what_an_address_is(name: str, expected: bool) -> None:
    assert is_address(name) == expected


def test_a_folder_to_the_bottom_in_order_and_without_other_files(photos: MakePhotos, tmp_path: Path) -> None:
    paths = photos(3, "in/b") + photos(2, "in/a b")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    found = list(remote_images(f"file://{tmp_path}/in"))
    assert [image.key for image in found] == sorted(f"file://{path}" for path in paths)
    assert [image.read().data for image in found] == [path.read_bytes() for path in sorted(paths)]


def test_a_single_file_whatever_its_name(photos: MakePhotos, tmp_path: Path) -> None:
    path = photos(1)[0].rename(tmp_path / "photo")
    (image,) = remote_images(f"file://{path}")
    assert (image.key, image.read().data) == (f"file://{path}", path.read_bytes())


def test_credentials_and_options_stay_out_of_results(monkeypatch: pytest.MonkeyPatch, photos: MakePhotos) -> None:
    """With S3's own addresses, on a file system that stands in for S3."""
    from pyarrow import fs

    folder = photos(2)[0].parent
    store = fs.SubTreeFileSystem(str(folder.parent), fs.LocalFileSystem())
    monkeypatch.setattr("secam_onnx.batch.object_stores._file_system", lambda address: (store, "photos"))
    address = "s3://key:secret@bucket/photos/?region=eu-west-1"
    items = list(Sources([address], stores=True).items())
    assert [item.key for item in items] == ["s3://bucket/photos/0000.jpg", "s3://bucket/photos/0001.jpg"]
    assert items[0].image == RemoteImage(items[0].key, address, "photos/0000.jpg")
    assert not any("secret" in item.folder for item in items)


@pytest.mark.parametrize("address", ["file:///no/such/folder", "nosuch://key:secret@bucket/folder"])
def test_nothing_there(address: str) -> None:
    (item,) = Sources([address], stores=True).items()
    assert isinstance(item.error, ImageError)
    assert "cannot be read" in str(item.error)
    assert "secret" not in item.key


def test_a_file_that_is_gone(photos: MakePhotos) -> None:
    (path,) = photos(1)
    (image,) = remote_images(f"file://{path}")
    path.unlink()
    with pytest.raises(ImageError, match=r"0000\.jpg cannot be read"):
        image.read()


def test_the_local_engine_says_who_reads_addresses() -> None:
    (item,) = Sources(["s3://bucket/*.jpg"]).items()
    assert "--engine ray" in str(item.error)
