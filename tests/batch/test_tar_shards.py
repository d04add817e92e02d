"""Tar archives as shards: what is read, what is passed over, and what strangers may put into one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from secam_onnx.batch import tar_shards
from secam_onnx.batch.tar_shards import shard_images
from secam_onnx.errors import ImageError
from secam_onnx.photograph.images import EncodedImage

Member = tuple[str, bytes] | tarfile.TarInfo


@pytest.fixture
def shard(tmp_path: Path) -> Callable[..., str]:
    def make(members: list[Member], name: str = "shard.tar", form: int = tarfile.PAX_FORMAT) -> str:
        mode = {"tar": "w", "gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}[name.rpartition(".")[2]]
        with tarfile.open(tmp_path / name, mode, format=form) as archive:
            for member in members:
                if isinstance(member, tarfile.TarInfo):
                    archive.addfile(member)
                else:
                    info = tarfile.TarInfo(member[0])
                    info.size = len(member[1])
                    archive.addfile(info, io.BytesIO(member[1]))
        return str(tmp_path / name)

    return make


def read(path: str) -> dict[str, bytes | str]:
    """Bytes of each image, or the message."""
    return {name: image.data if isinstance(image, EncodedImage) else str(image) for name, image in shard_images(path)}


SAMPLES: list[Member] = [
    ("0001.jpg", b"one"),
    ("0001.cls", b"7"),
    ("0001.json", b"{}"),
    ("sub/0002.left.PNG", b"two" * 1000),
    ("sub/0002.txt", b"a text"),
    ("./0003.webp", b""),
    ("._0003.webp", b"macOS"),
    ("__MACOSX/._0003.webp", b"macOS"),
    (".hidden/0004.jpg", b"hidden"),
]


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz", "shard.tgz", "shard.tar.bz2", "Shard.tar.xz"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_webdataset_shard(name: str, form: int, shard: Callable[..., str]) -> None:
    path = shard(SAMPLES, name, form)
    assert read(path) == {"0001.jpg": b"one", "sub/0002.left.PNG": b"two" * 1000, "0003.webp": b""}
    assert next(iter(shard_images(path)))[1] == EncodedImage(f"{path}/0001.jpg", b"one")


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_images_that_are_not_wanted_are_not_read(
    name: str, shard: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shard([(f"{number}.jpg", b"data") for number in range(10)], name)
    extracted: list[str] = []
    extract = tarfile.TarFile.extractfile
    monkeypatch.setattr(
        tarfile.TarFile, "extractfile", lambda self, member: extracted.append(member.name) or extract(self, member)
    )
    assert [name for name, _ in shard_images(path, lambda name: name in ("3.jpg", "8.jpg"))] == ["3.jpg", "8.jpg"]
    assert extracted == ["3.jpg", "8.jpg"]


def test_a_long_archive_is_not_remembered(shard: Callable[..., str]) -> None:
    """tarfile keeps a list of all members unless it is kept from that."""
    path = shard([(f"{number}.jpg", b"") for number in range(500)])
    lengths = []
    images = shard_images(path)
    for _ in images:
        archive = images.gi_frame.f_locals["archive"]  # type: ignore[attr-defined]
        lengths.append(len(archive.members))
    assert len(lengths) == 500
    assert max(lengths) <= 1


def link(kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo("link.jpg")
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_passed_over(kind: bytes, shard: Callable[..., str]) -> None:
    assert read(shard([link(kind), ("a.jpg", b"a"), link(kind, "a.jpg")])) == {"a.jpg": b"a"}


def test_names_are_only_text(shard: Callable[..., str], tmp_path: Path) -> None:
    names = ["../../up.jpg", "/etc/root.jpg", "x" * 500 + ".jpg"]
    before = set(tmp_path.rglob("*"))
    assert list(read(shard([(name, b"data") for name in names]))) == names
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "shard.tar"}


def test_a_huge_member_is_refused_and_the_rest_is_read(
    shard: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_shards, "MAX_MEMBER_BYTES", 100)
    for name in ("shard.tar", "shard.tar.gz"):
        found = read(shard([("huge.jpg", bytes(101)), ("a.jpg", b"a")], name))
        assert found["a.jpg"] == b"a"
        assert "huge.jpg in" in found["huge.jpg"]
        assert "101 bytes long; an image of at most 100 bytes was expected" in found["huge.jpg"]


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_that_would_fill_the_memory(kind: bytes, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as handle:
        handle.write(header(kind, 2 << 20))
        handle.write(bytes(2 << 20))
    assert "a header of 2,097,152 bytes" in read(str(tmp_path / "bomb.tar.gz"))[""]


def test_headers_without_end(tmp_path: Path) -> None:
    """tarfile reads each long name by calling itself."""
    (tmp_path / "deep.tar").write_bytes((header(b"L", 4) + b"a.jpg".ljust(512, b"\0")) * 5000)
    assert "cannot be read as a tar archive" in read(str(tmp_path / "deep.tar"))[""]


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_an_archive_that_is_cut_off(name: str, share: float, shard: Callable[..., str]) -> None:
    """What came before the end counts; that there is one is said."""
    import random

    noise = random.Random(0).randbytes
    path = Path(shard([(f"{number}.jpg", noise(3000)) for number in range(10)], name))
    whole = read(str(path))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    found = read(str(path))
    assert "cut off" in found.pop("")
    assert set(found.items()) < set(whole.items())
    assert len(found) >= int(10 * share) - 3


def test_garbage_in_the_middle_is_not_taken_for_the_end(shard: Callable[..., str]) -> None:
    path = Path(shard([(f"{number}.jpg", b"data") for number in range(4)]))
    data = bytearray(path.read_bytes())
    data[2 * 1024 : 2 * 1024 + 512] = b"garbage!" * 64
    path.write_bytes(data)
    found = read(str(path))
    assert list(found) == ["0.jpg", "1.jpg", ""]
    assert "cannot be read as a tar archive" in found[""]


@pytest.mark.parametrize("data", [b"", b"no archive", b"x" * 5000, None])
@pytest.mark.parametrize("name", ["bad.tar", "bad.tar.gz", "bad.tar.xz"])
def test_what_is_no_archive(name: str, data: bytes | None, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    ((key, image),) = shard_images(str(tmp_path / name))
    assert key == ""
    assert isinstance(image, ImageError)
    assert ("does not exist" if data is None else "cannot be read as a tar archive") in str(image)


@pytest.mark.parametrize("name", ["shard.tar.gz", "shard.tar.bz2", "shard.tar.xz"])
def test_an_archive_that_unpacks_to_nothing_without_end(name: str, tmp_path: Path) -> None:
    huge = tarfile.TarInfo("zeros.bin")
    huge.size = 1 << 45  # which nobody waits for
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[name.rpartition(".")[2]]
    photo = tarfile.TarInfo("photo.jpg")
    photo.size = 3
    data = photo.tobuf() + b"one".ljust(512, b"\0") + huge.tobuf() + bytes(1 << 24)
    (tmp_path / name).write_bytes(pack(data))
    found = read(str(tmp_path / name))
    assert found["photo.jpg"] == b"one"
    assert "unpacks to more than" in str(found[""])


def test_texts_beside_the_images_may_shrink(shard: Callable[..., str]) -> None:
    path = shard([("1.json", bytes(100_000_000)), ("1.jpg", b"one")], "shard.tar.gz")
    assert read(path) == {"1.jpg": b"one"}
