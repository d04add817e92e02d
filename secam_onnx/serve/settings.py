"""Settings of a server: models, addresses and limits. Plain values, which worker processes receive as they are."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from secam_onnx.errors import OptionError
from secam_onnx.page.visitors import LOOPBACK, host_name
from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS
from secam_onnx.serve.request.limits import RequestLimits

__all__ = ["Limits", "Settings", "address_family", "bracketed"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # it becomes part of a URL


@dataclass(frozen=True)
class Limits(RequestLimits):
    """Limits of each request and of all together; all above 0.

    Photographs that are held for pictures may have twice `max_drawn_pixels` in all requests together.

    Attributes
    ----------
    max_batch_size : int
        The most photographs in a forward pass.
    max_latency_ms : float
        How long a prepared photograph waits for others that are being read; 0 for no waiting.
    max_body_bytes : int
        The most bytes of one request.
    max_pending_bytes : int
        The most bytes of all pending requests and of answers that are being sent.
    queue_length : int
        The most pending photographs; further requests are refused.
    max_connections : int
        The most connections that are answered at a time; those that wait make room.
    timeout_s : float
        Seconds from the arrival of a whole request until it is given up.
    decode_s : float
        Seconds of processor time for decoding one photograph.
    client_timeout_s : float
        Seconds that a client has to send its headers, to send its body, and to receive the response.
    grace_s : float
        Seconds that pending requests have when the server is told to stop.
    """

    max_batch_size: int = 4
    max_latency_ms: float = 5.0
    max_body_bytes: int = 32 << 20
    max_pending_bytes: int = 256 << 20
    queue_length: int = 64
    max_connections: int = 512
    timeout_s: float = 30.0
    decode_s: float = 10.0
    client_timeout_s: float = 10.0
    grace_s: float = 30.0

    _zero_allowed: ClassVar[frozenset[str]] = frozenset({"max_latency_ms"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_images > self.queue_length:
            raise OptionError(
                f"max_images is {self.max_images} and queue_length {self.queue_length}, so a request of that many "
                "photographs would always be refused; make queue_length at least as large."
            )


@dataclass(frozen=True)
class Settings:
    """Everything that a server is started with.

    Attributes
    ----------
    models : mapping of str to Path
        Model files by their names in requests.
    host : str
        Address to listen on.
    port, grpc_port : int
        0 for any free port; `grpc_port` is None for no gRPC.
    provider : str
        See `runtime.resolve_providers`.
    threads : int or None
        Threads of one forward pass.
    predictor_host : str or None
        `HOST:PORT` of the server that answers `:predict`; by default this one does.
    key_digests : tuple of bytes
        SHA-256 of the API keys; empty if no key is needed.
    page : bool
        Whether `GET /` answers with the page.
    log_level : str
        The lowest level that is logged.
    model_digests : mapping of str to str
        SHA-256 of the model files, so that all processes serve the same.
    share_grpc_port : bool
        Whether several processes listen on the gRPC port.
    allowed_hosts : tuple of str
        Names that requests may call this server by (`Host`), besides addresses and `localhost`; `*` for all.
    formats : tuple of str
        The formats of photographs that are read.
    limits : Limits
        Limits of requests.
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
    formats: tuple[str, ...] = DEFAULT_FORMATS
    model_digests: Mapping[str, str] = field(default_factory=dict)
    share_grpc_port: bool = False
    allowed_hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in self.models:
            if not _NAME.fullmatch(name):
                raise OptionError(
                    f"{name!r} cannot be a model's name, which may have letters, digits, '.', '_' and '-'. Give "
                    "another one: --model NAME=FILE."
                )
        for name in self.allowed_hosts:
            if name != "*" and host_name(name) != name.lower():
                raise OptionError(
                    f"{name!r} cannot be a host's name; one as in why.example.com was expected, without scheme and "
                    "port, or *: --allowed-host NAME."
                )

    @property
    def hosts(self) -> frozenset[str]:
        """The names that requests may call this server by, in lower case; `*` among them for all."""
        names = {self.host, *self.allowed_hosts}
        if self.host not in (*LOOPBACK, "127.0.0.1", "::1"):  # other machines use this one's own name
            own = socket.gethostname()
            names |= {own, f"{own}.local"}
        return LOOPBACK | {name.lower() for name in names}


def address_family(host: str) -> socket.AddressFamily:
    """The address family of a host: IPv6 or IPv4."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bracketed(host: str) -> str:
    """A host as it is written before a port."""
    return f"[{host}]" if address_family(host) == socket.AF_INET6 else host
