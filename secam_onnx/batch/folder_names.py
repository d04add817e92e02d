"""Names of the folders for results: the same on every run, safe on every system, one for each image."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from secam_onnx.photograph.images import ENDINGS

__all__ = ["alike", "digest", "folder_name", "unique_stems"]

_LONGEST = 150  # bytes of a part; file systems take 255
_LONGEST_PATH = 1000
# Names of Windows devices, with any ending.
_RESERVED = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?=\s*(\.|$))", re.IGNORECASE)


def unique_stems(names: Iterable[str]) -> list[str]:
    """Name a folder after each source, without the ending; where several have the same name, number them."""
    taken: set[str] = set()
    folders = []
    for name in names:
        path = Path(name)
        stem = path.stem.removesuffix(".tar")  # of .tar.gz
        stem = _safe(stem if stem not in ("", "..") else path.resolve().name or "root")
        folder, count = stem, 1
        while alike(folder) in taken:
            count += 1
            folder = f"{stem}-{count}"
        taken.add(alike(folder))
        folders.append(folder)
    return folders


def folder_name(name: str) -> str:
    """Turn a path, or the name of a member of an archive, into a relative folder.

    A harmless path stays as it is. Parts that lead elsewhere, are forbidden on some system, are too long or would lie
    in another image's folder are replaced, and a digest of the whole path keeps the folder apart from others.
    """
    parts = [part for part in name.replace(os.sep, "/").split("/") if part not in ("", ".")]
    safe = [_safe(part) for part in parts]
    safe[:-1] = [f"{part}_" if part.lower().endswith(ENDINGS) else part for part in safe[:-1]]
    if safe == parts != [] and not Path(name).is_absolute() and len(name) <= _LONGEST_PATH:
        return "/".join(parts)
    short = safe if len(name) <= _LONGEST_PATH else safe[-1:]
    return "-".join(["/".join(short), digest(name)])


def alike(folder: str) -> str:
    """Fold a name so that names which Windows or macOS treat as one, by case or spelling of accents, become equal."""
    return unicodedata.normalize("NFC", folder).casefold()


def digest(name: str) -> str:
    """Hash a name to eight digits."""
    return blake2b(name.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def _safe(part: str) -> str:
    part = part.encode(errors="backslashreplace")[:_LONGEST].decode(errors="ignore")
    part = re.sub(r'[\x00-\x1f\x7f<>:"|?*\\]', "_", part)
    part = "__" if part == ".." else part.rstrip(". ") or "_"
    return _RESERVED.sub(r"\1_", part)
