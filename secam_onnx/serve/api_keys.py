"""API keys that requests must bring: kept as digests only, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

from secam_onnx.errors import OptionError
from secam_onnx.serve.request_errors import NoKeyError

__all__ = ["check_key", "read_keys"]


def read_keys(file: Path) -> tuple[bytes, ...]:
    """Read the keys in a file, one a line, as SHA-256 digests; empty lines and those that begin with # are skipped.

    Raises
    ------
    OptionError
        The file cannot be read, or holds no key.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"Cannot read keys from {file}: {error}. A text file was expected, with one key a line."
        ) from error
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise OptionError(f"{file} holds no key; write one a line.")
    return tuple(_digest(key.encode()) for key in keys)


def check_key(headers: Mapping[str, str], digests: Sequence[bytes]) -> None:
    """Refuse a request without a known key, unless no keys are set.

    Parameters
    ----------
    headers : mapping of str to str
        The request's headers, names in lower case; each character of a value stands for a byte.
    digests : sequence of bytes
        See `read_keys`.

    Raises
    ------
    NoKeyError
        The key is missing or unknown.
    """
    if not digests:
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    digest = _digest(key.encode("latin-1", "replace"))
    # All are compared, so that the time does not tell which one came close.
    if sum(hmac.compare_digest(digest, known) for known in digests) == 0:
        raise NoKeyError(
            "A key is needed: send Authorization: Bearer KEY, or X-API-Key: KEY.", {"WWW-Authenticate": "Bearer"}
        )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
