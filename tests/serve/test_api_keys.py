"""Keys: what lets a request pass, and what a file of them may hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("kserve")

from secam_onnx.errors import OptionError
from secam_onnx.serve.api_keys import check_key, read_keys
from secam_onnx.serve.request_errors import NoKeyError


@pytest.fixture
def digests(tmp_path: Path) -> tuple[bytes, ...]:
    file = tmp_path / "keys"
    file.write_text("first key\n\n# of the team\n  zweiter schlüssel  \n", encoding="utf-8-sig")
    return read_keys(file)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer first key"},
        {"authorization": "bearer  first key"},
        {"x-api-key": "zweiter schlüssel".encode().decode("latin-1")},
    ],
)
def test_known_keys_pass(headers: dict[str, str], digests: tuple[bytes, ...]) -> None:
    check_key(headers, digests)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "first key"},
        {"authorization": "Basic first key"},
        {"x-api-key": ""},
        {"x-api-key": "# of the team"},
        {"x-api-key": "first"},
    ],
)
def test_others_do_not(headers: dict[str, str], digests: tuple[bytes, ...]) -> None:
    with pytest.raises(NoKeyError, match="A key is needed"):
        check_key(headers, digests)


def test_keys_are_not_kept(digests: tuple[bytes, ...]) -> None:
    assert [len(digest) for digest in digests] == [32, 32]
    assert not any(b"key" in digest for digest in digests)


@pytest.mark.parametrize(("content", "message"), [(b" \n\n", "holds no key"), (b"\xff\xfe", "Cannot read keys")])
def test_a_file_without_keys(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(OptionError, match=message):
        read_keys(file)
    with pytest.raises(OptionError, match="Cannot read keys"):
        read_keys(tmp_path / "none")


@pytest.mark.skipif(os.name != "posix", reason="other systems have other permissions")
def test_who_may_write_and_read_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"
    file.write_text("key\n")
    for mode in (0o666, 0o602, 0o777):
        file.chmod(mode)
        with pytest.raises(OptionError, match=f"Every user can write to .* \\(mode {mode:o}\\).*chmod 600 "):
            read_keys(file)
    for mode, warned in ((0o600, False), (0o400, False), (0o660, False), (0o644, True), (0o444, True)):
        file.chmod(mode)
        caplog.clear()
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(file)  # as Kubernetes mounts secrets
        with caplog.at_level("WARNING", "secam_onnx.serve"):
            assert len(read_keys(tmp_path / "link")) == 1
        assert ("can read the keys" in caplog.text) == warned


def test_a_pipe_of_keys(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"key\n")
    os.close(write)
    try:
        assert len(read_keys(Path(f"/dev/fd/{read}"))) == 1
    finally:
        os.close(read)


def test_a_file_without_end_is_not_read_whole() -> None:
    with pytest.raises(OptionError, match="more than 1,048,576 bytes"):
        read_keys(Path("/dev/zero"))
