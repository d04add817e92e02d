"""Keys: what lets a request pass, and what a file of them may hold."""

from __future__ import annotations

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
