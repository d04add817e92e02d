"""One serving process: HTTP and gRPC in one event loop, from opening the models to the last request."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import signal
import socket
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

import uvicorn

from secam_onnx.errors import OptionError, SecamError
from secam_onnx.serve.access_log import logger
from secam_onnx.serve.grpc_server import grpc_server
from secam_onnx.serve.guard import GuardMiddleware
from secam_onnx.serve.http_application import application
from secam_onnx.serve.http_connection import GuardedConnection
from secam_onnx.serve.kserve_data_plane import ExplainerDataPlane
from secam_onnx.serve.kserve_model import ExplainerModel
from secam_onnx.serve.kserve_sdk import ModelRepository, PredictorConfig, kserve_context
from secam_onnx.serve.settings import Settings, address_family

__all__ = ["listen", "serve"]

_POLL_S = 0.1
_KEEP_ALIVE_S = 65  # longer than proxies keep their connections; the SDK has the same


def listen(host: str, port: int) -> socket.socket:
    """Open a socket for HTTP.

    Raises
    ------
    OptionError
        The address cannot be used.
    """
    try:
        return socket.create_server((host, port), family=address_family(host), backlog=2048)
    except (OSError, OverflowError) as error:
        raise OptionError(
            f"Port {port} of {host} cannot be used ({error}); choose another (--port), or 0 for any free one."
        ) from error


def serve(
    settings: Settings,
    http: socket.socket,
    *,
    started: Callable[[int | None], None] = lambda _: None,
    ready: Callable[[], None] = lambda: None,
    open_first: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the accepted requests.

    Parameters
    ----------
    settings : Settings
        Models, addresses and limits.
    http : socket
        See `listen`.
    started : callable
        Called with the gRPC port, or None, once connections are accepted.
    ready : callable
        Called once every model has explained a first picture.
    open_first : bool
        Whether to accept no connection before that.

    Raises
    ------
    SecamError
        A model cannot be opened, or the gRPC port cannot be used.
    """
    repository = ModelRepository()
    for name, path in settings.models.items():
        repository.update(ExplainerModel(name, path, settings))
    kserve_context.set_predictor_config(PredictorConfig(settings.predictor_host) if settings.predictor_host else None)
    data_plane = ExplainerDataPlane(repository)
    limits = settings.limits
    config = uvicorn.Config(
        GuardMiddleware(application(data_plane, settings, version("secam-onnx")), settings),
        http=functools.partial(GuardedConnection, limits=limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=limits.max_connections,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(limits.grace_s),
    )
    server = uvicorn.Server(config)

    def stop(*_: Any) -> None:
        # For signals that come before uvicorn handles them. When uvicorn is done it raises the signal again; then this
        # does nothing.
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(server, http, data_plane, settings, started, ready, open_first))


async def _serve(
    server: uvicorn.Server,
    http: socket.socket,
    data_plane: ExplainerDataPlane,
    settings: Settings,
    started: Callable[[int | None], None],
    ready: Callable[[], None],
    open_first: bool,
) -> None:
    models = list(data_plane.model_registry.get_models().values())

    async def open_models() -> None:
        try:
            for model in models:
                await model.open()
                logger.info("ready", extra={"model": model.name, "file": str(model.path)})
            ready()
        except SecamError:
            server.should_exit = True
            raise

    opening = asyncio.create_task(open_models())
    if open_first:
        await asyncio.wait([opening])
    async with _grpc(data_plane, settings, server) as port:
        started(port)
        await server.serve([http])
        opening.cancel()
        (failure,) = await asyncio.gather(opening, return_exceptions=True)
    for model in models:
        await model.close()
    if isinstance(failure, SecamError):
        raise failure


@contextlib.asynccontextmanager
async def _grpc(data_plane: ExplainerDataPlane, settings: Settings, http: uvicorn.Server) -> AsyncIterator[int | None]:
    """Run the gRPC server, if there is to be one, until HTTP stops; yields its port."""
    if settings.grpc_port is None:
        yield None
        return
    server, port = grpc_server(data_plane, settings)
    await server.start()

    async def stop() -> None:
        while not http.should_exit:
            await asyncio.sleep(_POLL_S)
        await server.stop(settings.limits.grace_s)

    stopping = asyncio.create_task(stop())
    try:
        yield port
    finally:
        http.should_exit = True
        await stopping
