"""Connections of the HTTP server: those that work are counted, those that wait make room for new ones."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SPARE", "Crowd"]

SPARE = 32
"""Connections beyond the limit, so that health checks are answered when it is reached."""


class _Connection(Protocol):
    def leave(self) -> None:
        """Close the connection."""


class Crowd:
    """The open connections.

    Parameters
    ----------
    most : int
        How many may work at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Those that wait for a request or for the rest of its headers, the longest first.
        self._new: dict[_Connection, None] = {}
        self._answered: dict[_Connection, None] = {}
        self._working: set[_Connection] = set()

    @property
    def is_full(self) -> bool:
        """Whether more than the limit work."""
        return len(self._working) > self._most

    def enter(self, connection: _Connection) -> None:
        """A connection is new. If there are too many, one that waits is closed, at best one that has had an answer."""
        self._new[connection] = None
        if len(self._new) + len(self._answered) + len(self._working) > self._most + SPARE:
            longest = next(iter(self._answered or self._new))
            self.forget(longest)
            longest.leave()

    def work(self, connection: _Connection) -> None:
        """A connection has sent the headers of a request."""
        self.forget(connection)
        self._working.add(connection)

    def rest(self, connection: _Connection) -> None:
        """A connection has got its answer."""
        self.forget(connection)
        self._answered[connection] = None

    def forget(self, connection: _Connection) -> None:
        """A connection is closed."""
        self._new.pop(connection, None)
        self._answered.pop(connection, None)
        self._working.discard(connection)
