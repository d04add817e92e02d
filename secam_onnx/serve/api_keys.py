"""API keys that requests must bring: kept as digests only, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from secam_onnx.errors import OptionError
from secam_onnx.serve.access_log import logger
from secam_onnx.serve.request_errors import NoKeyError

__all__ = ["check_key", "read_keys"]

_MOST_BYTES = 1 << 20


def read_keys(file: Path) -> tuple[bytes, ...]:
    """Read the keys in a file, one a line, as SHA-256 digests; empty lines and those that begin with # are skipped.

    Raises
    ------
    OptionError
        The file cannot be read, holds no key, or may be changed by other users.
    """
    try:
        with file.open("rb") as opened:
            _check_mode(file, os.fstat(opened.fileno()))
            text = opened.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise OptionError(
                f"{file} has more than {_MOST_BYTES:,} bytes; a text file with one key a line was expected."
            )
        lines = text.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"Cannot read keys from {file}: {error}. A text file was expected, with one key a line."
        ) from error
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise OptionError(f"{file} holds no key; write one a line.")
    return tuple(_digest(key.encode()) for key in keys)


def _check_mode(file: Path, status: os.stat_result) -> None:
    """Refuse a file to which others can add keys. Secrets of containers can be read by all, so that is only said."""
    if os.name != "posix" or not stat.S_ISREG(status.st_mode):  # a pipe, as of `<(pass keys)`, is the user's own
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IWOTH:
        raise OptionError(f"Every user can write to {file} (mode {mode:o}) and so add keys; run chmod 600 {file}.")
    if mode & stat.S_IROTH:
        logger.warning(f"every user of this machine can read the keys in {file} (mode {mode:o}); chmod 600 forbids it")


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
