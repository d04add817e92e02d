"""What is known of the request at hand, wherever it is worked on: for the log, and for what no protocol passes on."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = ["Request", "current", "request_id"]

_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass
class Request:
    """One request.

    Attributes
    ----------
    id : str
        Its client's, or one that was made for it.
    query : str
        The part of its address after the question mark.
    accept : str
        The kinds of response that its client takes.
    bytes : int
        How large its body is, as far as it has come.
    notes : dict
        What its line in the log says of it besides.
    """

    id: str
    query: str = ""
    accept: str = ""
    bytes: int = 0
    notes: dict[str, object] = field(default_factory=dict)

    def failed(self, reason: str) -> None:
        """Note why there is no answer."""
        self.notes["error"] = reason[:_SHOWN]


_SHOWN = 300  # characters of a reason

_current: ContextVar[Request] = ContextVar("secam_request")


def current() -> Request:
    """The request at hand; an empty one where there is none."""
    return _current.get(None) or Request("")


def enter(request: Request) -> None:
    """Make it the one at hand, in this task and those that it starts."""
    _current.set(request)


def request_id(given: str | None) -> str:
    """The client's own identifier if it can stand in a header and a log, or else a new one."""
    return given if given is not None and _ID.fullmatch(given) else uuid.uuid4().hex
