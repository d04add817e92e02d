"""Names of the folders for results: the same on every run, safe on every system, one for each image."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from secam_onnx.batch.key_set import KeySet
from secam_onnx.photograph.images import ENDINGS

__all__ = ["Places", "folder_name", "unique_stems"]

_LONGEST = 150  # bytes of a part; file systems take 255
_LONGEST_PATH = 1000  # bytes; systems take 4096, of which the folder of the results has a share
# What lies beside the results: the table of errors, the lock, what is unfinished, the parts of a dataset.
_OURS = re.compile(r"^(errors\.csv|\.secam-.*|part-.*\.parquet|_errors)$", re.IGNORECASE)
# On Windows, or to whoever looks at a list of names: controls, and what turns the direction of writing.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\\\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]')
# Names of Windows devices, with any ending.
_RESERVED = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?=\s*(\.|$))", re.IGNORECASE)


def unique_stems(names: Iterable[str]) -> list[str]:
    """Name a folder after each source, without the ending; where several have the same name, number them."""
    taken: set[str] = set()
    folders = []
    for name in names:
        path = Path(name)
        stem = path.stem.removesuffix(".tar")  # of .tar.gz
        stem = _safe(stem if stem not in ("", "..") else Path(os.path.realpath(path)).name or "root")
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
    if safe == parts != [] and not Path(name).is_absolute() and _length(name) <= _LONGEST_PATH:
        return "/".join(parts)
    short = safe if _length(name) <= _LONGEST_PATH else safe[-1:]
    return "-".join(["/".join(short), digest(name)])


class Places:
    """The folders of one run: one for each image, none inside another image's, and none too long.

    They are apart also on systems on which case and the spelling of accents count for nothing.
    """

    def __init__(self) -> None:
        self._taken, self._around = KeySet(), KeySet()

    def of(self, key: str, folder: str) -> str:
        """The folder of an image; one with a digest of its name where the one that is asked for cannot be had."""
        parent, _, last = folder.rpartition("/")
        if _length(folder) > _LONGEST_PATH or not self._free(parent):
            parent, folder = "", f"{last}-{digest(key)}"
        name = alike(folder)
        if name in self._around or not self._taken.add(name):
            folder = f"{folder}-{digest(key)}"
            self._taken.add(alike(folder))
        while parent and self._around.add(alike(parent)):
            parent = parent.rpartition("/")[0]
        return folder

    def _free(self, parent: str) -> bool:
        """Whether no image has this folder or one around it."""
        if not parent or alike(parent) in self._around:
            return True
        return alike(parent) not in self._taken and self._free(parent.rpartition("/")[0])


def alike(folder: str) -> str:
    """Fold a name so that names which Windows or macOS treat as one, by case or spelling of accents, become equal."""
    return folder.lower() if folder.isascii() else unicodedata.normalize("NFC", folder).casefold()


def digest(name: str) -> str:
    """Hash a name to eight digits."""
    return blake2b(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()


def _length(name: str) -> int:
    return len(name) if name.isascii() else len(name.encode(errors="surrogatepass"))


def _safe(part: str) -> str:
    part = part.encode(errors="backslashreplace")[:_LONGEST].decode(errors="ignore")
    part = _FORBIDDEN.sub("_", part)
    part = "__" if part == ".." else part.rstrip(". ") or "_"
    return f"{part.lstrip('.')}_" if _OURS.match(part) else _RESERVED.sub(r"\1_", part)
