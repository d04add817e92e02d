"""A set of names in a few bytes each, so that memory hardly grows with the number of images."""

from __future__ import annotations

from array import array
from hashlib import blake2b

__all__ = ["KeySet"]


class KeySet:
    """A set of strings that keeps 64 bits of each: 16 to 32 bytes per string, however long it is.

    Among n strings, two are mistaken for one with a probability of n^2 / 2^65: for ten million, 1 in 370,000.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 << 10))  # open addressing; 0 is a free place
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: str) -> bool:
        return self._table[self._place(_digest(key))] != 0

    def add(self, key: str) -> bool:
        """Add a string; return whether it was new."""
        digest = _digest(key)
        place = self._place(digest)
        if self._table[place]:
            return False
        self._table[place] = digest
        self._count += 1
        if 2 * self._count > len(self._table):
            old, self._table = self._table, array("Q", bytes(16 * len(self._table)))
            for digest in filter(None, old):
                self._table[self._place(digest)] = digest
        return True

    def _place(self, digest: int) -> int:
        mask = len(self._table) - 1
        place = digest & mask
        while self._table[place] not in (0, digest):
            place = (place + 1) & mask
        return place


def _digest(key: str) -> int:
    name = key.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") or 1
