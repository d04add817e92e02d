"""What a request can meet besides bad input; the same over HTTP and gRPC."""

from __future__ import annotations

from typing import ClassVar

from grpc import StatusCode

__all__ = [
    "BusyError",
    "ForbiddenError",
    "MalformedError",
    "NoKeyError",
    "PredictorError",
    "RequestError",
    "SlowError",
    "StoppedError",
    "TooLargeError",
    "TooLateError",
    "UnknownKindError",
]


class RequestError(Exception):
    """A request that gets no answer; its message says why.

    Attributes
    ----------
    status : int
        Of HTTP.
    code : StatusCode
        Of gRPC.
    headers : dict of str to str
        Of the response.
    """

    status: int = 500
    code: ClassVar[StatusCode] = StatusCode.INTERNAL

    def __init__(self, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = headers or {}


class MalformedError(RequestError):
    """It cannot be understood."""

    status, code = 400, StatusCode.INVALID_ARGUMENT


class NoKeyError(RequestError):
    """It brings no key, or one that is not known."""

    status, code = 401, StatusCode.UNAUTHENTICATED


class ForbiddenError(RequestError):
    """It wants what this server does for nobody."""

    status, code = 403, StatusCode.PERMISSION_DENIED


class SlowError(RequestError):
    """Its client did not send it in time."""

    status, code = 408, StatusCode.DEADLINE_EXCEEDED


class TooLargeError(RequestError):
    """It has more bytes than are taken."""

    status, code = 413, StatusCode.RESOURCE_EXHAUSTED


class UnknownKindError(RequestError):
    """Its body is of a kind that is not taken."""

    status, code = 415, StatusCode.INVALID_ARGUMENT


class BusyError(RequestError):
    """There is too much to do already."""

    status, code = 429, StatusCode.RESOURCE_EXHAUSTED


class StoppedError(RequestError):
    """The server stops before it is done."""

    status, code = 503, StatusCode.UNAVAILABLE


class TooLateError(RequestError):
    """It took longer than it may."""

    status, code = 504, StatusCode.DEADLINE_EXCEEDED


class PredictorError(RequestError):
    """The server that predicts refused it, with a `status` of its own, or does not answer."""

    code = StatusCode.UNAVAILABLE

    def __init__(self, message: str, status: int = 502) -> None:
        super().__init__(message)
        self.status = status if 400 <= status < 500 else 502
