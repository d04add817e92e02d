"""What is known of the request being answered: for the log, and for what no protocol passes on."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = ["RequestContext", "current_request", "enter_request", "request_id"]

_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass
class RequestContext:
    """One request.

    Attributes
    ----------
    id : str
        The client's identifier, or a new one.
    query : str
        The part of the URL after the question mark.
    accept : str
        The content types that the client takes.
    bytes : int
        Size of the body received so far.
    notes : dict
        Further fields of the request's line in the log.
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

_current: ContextVar[RequestContext] = ContextVar("secam_request")


def current_request() -> RequestContext:
    """The request being answered; an empty one if there is none."""
    return _current.get(None) or RequestContext("")


def enter_request(request: RequestContext) -> None:
    """Make a request the current one, in this task and those that it starts."""
    _current.set(request)


def request_id(given: str | None) -> str:
    """The client's identifier if it may stand in a header and a log, or else a new one."""
    return given if given is not None and _ID.fullmatch(given) else uuid.uuid4().hex
