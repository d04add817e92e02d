"""What a server was told: models, addresses and limits. Plain values, so that worker processes get the same."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from secam_onnx.errors import OptionError
from secam_onnx.serve.request.limits import RequestLimits

__all__ = ["Limits", "Settings", "address_family", "bracketed"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # it becomes part of an address


@dataclass(frozen=True)
class Limits(RequestLimits):
    """What one server takes on: the limits of each request, and of all together. All above 0.

    The photographs that are held for pictures may have twice `max_drawn_pixels` in all requests together.

    Attributes
    ----------
    max_batch_size : int
        Photographs in a forward pass.
    max_latency_ms : float
        How long a photograph that is ready waits for others that are being read; 0: not at all.
    max_body_bytes : int
        Bytes of one request.
    max_pending_bytes : int
        Bytes of all requests that have no answer yet.
    queue_length : int
        Photographs that have no answer yet; further requests are refused.
    max_connections : int
        Open connections.
    timeout_s : float
        Seconds until a request that has no answer is given up, from when it has arrived whole.
    client_timeout_s : float
        Seconds that a client has to send its headers, its body, and to take each answer.
    grace_s : float
        Seconds that requests have to finish in when the server is told to stop.
    """

    max_batch_size: int = 4
    max_latency_ms: float = 5.0
    max_body_bytes: int = 32 << 20
    max_pending_bytes: int = 256 << 20
    queue_length: int = 64
    max_connections: int = 512
    timeout_s: float = 30.0
    client_timeout_s: float = 10.0
    grace_s: float = 30.0

    _zero_allowed: ClassVar[frozenset[str]] = frozenset({"max_latency_ms"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_images > self.queue_length:
            raise OptionError(
                f"max_images is {self.max_images} and queue_length {self.queue_length}; a request of that many "
                "photographs would always be refused. Make queue_length as large."
            )


@dataclass(frozen=True)
class Settings:
    """All that a server was told.

    Attributes
    ----------
    models : mapping of str to Path
        Model files by the name that requests give.
    host : str
        Address to listen on.
    port, grpc_port : int
        0 for any that is free; `grpc_port` None for no gRPC.
    provider : str
        See `runtime.resolve_providers`.
    threads : int or None
        Of one forward pass.
    predictor_host : str or None
        `HOST:PORT` of the server that predicts; by default this one does.
    key_digests : tuple of bytes
        SHA-256 of the keys, one of which a request must bring; empty where none is needed.
    page : bool
        Whether `GET /` is the page.
    log_level : str
        Least level of what is logged.
    model_digests : mapping of str to str
        SHA-256 of the model files, where several processes must have the same.
    share_grpc_port : bool
        Whether several processes listen on it.
    limits : Limits
        What it takes on.
    """

    models: Mapping[str, Path]
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = 8081
    provider: str = "auto"
    threads: int | None = None
    predictor_host: str | None = None
    key_digests: tuple[bytes, ...] = ()
    page: bool = True
    log_level: str = "INFO"
    model_digests: Mapping[str, str] = field(default_factory=dict)
    share_grpc_port: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in self.models:
            if not _NAME.fullmatch(name):
                raise OptionError(
                    f"{name!r} cannot be a model's name in an address; letters, digits, '.', '_' and '-' can. "
                    "Give another one: --model NAME=FILE."
                )


def address_family(host: str) -> socket.AddressFamily:
    """Whether an address is one of IPv6."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bracketed(host: str) -> str:
    """An address as it stands before a port."""
    return f"[{host}]" if address_family(host) == socket.AF_INET6 else host
