"""Why a request gets no answer, with the status that says so over HTTP and over gRPC."""

from __future__ import annotations

import traceback
from typing import ClassVar

from grpc import StatusCode

from secam_onnx.errors import ShownMessage

__all__ = [
    "BusyError",
    "CrowdedError",
    "ForbiddenError",
    "MalformedError",
    "MisdirectedError",
    "NoKeyError",
    "PredictorError",
    "RequestError",
    "SlowError",
    "StoppedError",
    "StuckError",
    "TooLargeError",
    "TooLateError",
    "UnknownKindError",
    "let_go",
]


class RequestError(ShownMessage):
    """A request that gets no answer; the message says why.

    Attributes
    ----------
    status : int
        The HTTP status.
    code : StatusCode
        The gRPC status.
    headers : dict of str to str
        Headers of the response.
    """

    status: int = 500
    code: ClassVar[StatusCode] = StatusCode.INTERNAL

    def __init__(self, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = headers or {}


class MalformedError(RequestError):
    """The request cannot be understood, or asks for something that does not exist."""

    status, code = 400, StatusCode.INVALID_ARGUMENT


class NoKeyError(RequestError):
    """The request brings no key, or an unknown one."""

    status, code = 401, StatusCode.UNAUTHENTICATED


class ForbiddenError(RequestError):
    """The request asks for something that this server never does."""

    status, code = 403, StatusCode.PERMISSION_DENIED


class MisdirectedError(RequestError):
    """The request was meant for a host of another name."""

    status, code = 421, StatusCode.INVALID_ARGUMENT


class SlowError(RequestError):
    """The client did not send the request in time."""

    status, code = 408, StatusCode.DEADLINE_EXCEEDED


class TooLargeError(RequestError):
    """The request has more bytes than the server accepts."""

    status, code = 413, StatusCode.RESOURCE_EXHAUSTED


class UnknownKindError(RequestError):
    """The content type of the body is not accepted."""

    status, code = 415, StatusCode.INVALID_ARGUMENT


class BusyError(RequestError):
    """The server has too much to do already."""

    status, code = 429, StatusCode.RESOURCE_EXHAUSTED


class CrowdedError(RequestError):
    """Too many connections work already."""

    status, code = 503, StatusCode.UNAVAILABLE


class StoppedError(RequestError):
    """The server stopped before the request was answered."""

    status, code = 503, StatusCode.UNAVAILABLE


class StuckError(RequestError):
    """Nothing can be answered at present: no photograph can be read, or the network hangs."""

    status, code = 503, StatusCode.UNAVAILABLE


class TooLateError(RequestError):
    """The request took longer than the limit."""

    status, code = 504, StatusCode.DEADLINE_EXCEEDED


class PredictorError(RequestError):
    """The predictor refused the request, with a `status` of its own, or does not answer."""

    code = StatusCode.UNAVAILABLE

    def __init__(self, message: str, status: int = 502) -> None:
        super().__init__(message)
        self.status = status if 400 <= status < 500 else 502


def let_go(error: BaseException | None) -> None:
    """Empty the frames that an error came through, which hold the request until they are collected as garbage."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error.__traceback__, error = None, error.__cause__ or error.__context__
