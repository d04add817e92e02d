"""Keys that requests must bring: kept as digests only, and compared in a time that tells nothing of them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

from secam_onnx.errors import OptionError
from secam_onnx.serve.request_errors import NoKeyError

__all__ = ["check_key", "read_keys"]


def read_keys(file: Path) -> tuple[bytes, ...]:
    """The SHA-256 of each key in a file, one a line; empty lines and those that begin with # are none.

    Raises
    ------
    OptionError
        It cannot be read, or holds none.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"Cannot read keys from {file}: {error}. Text was expected, one key a line.") from error
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise OptionError(f"{file} holds no key; one a line was expected.")
    return tuple(_digest(key.encode()) for key in keys)


def check_key(headers: Mapping[str, str], digests: Sequence[bytes]) -> None:
    """Let a request pass that brings a known key, or any where there are none.

    Parameters
    ----------
    headers : mapping of str to str
        Of the request, names in lower case; each character of a value stands for a byte.
    digests : sequence of bytes
        See `read_keys`.

    Raises
    ------
    NoKeyError
        There is no key, or it is another.
    """
    if not digests:
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    digest = _digest(key.encode("latin-1", "replace"))
    # All of them are compared, so that it takes as long for each.
    if sum(hmac.compare_digest(digest, known) for known in digests) == 0:
        raise NoKeyError(
            "A key is needed: Authorization: Bearer KEY, or X-API-Key: KEY.", {"WWW-Authenticate": "Bearer"}
        )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
