"""One serving process: HTTP and gRPC in one event loop, from opening the models to the last request."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import NoReturn, cast

import uvicorn

from secam_onnx.errors import OptionError, SecamError
from secam_onnx.memory import share_arenas
from secam_onnx.runtime import stop_all
from secam_onnx.serve.access_log import logger
from secam_onnx.serve.admission import Admission
from secam_onnx.serve.crowd import Crowd
from secam_onnx.serve.decoders import decoders_for
from secam_onnx.serve.ending import Ending
from secam_onnx.serve.grpc_server import grpc_server
from secam_onnx.serve.guard import GuardMiddleware
from secam_onnx.serve.heartbeat import Beat, Pulse, Supervisor
from secam_onnx.serve.http_application import application
from secam_onnx.serve.http_connection import GuardedConnection
from secam_onnx.serve.kserve_data_plane import ExplainerDataPlane
from secam_onnx.serve.kserve_model import ExplainerModel
from secam_onnx.serve.kserve_sdk import ModelRepository, PredictorConfig, kserve_context
from secam_onnx.serve.settings import Settings, address_family

__all__ = ["listen", "serve"]

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
    ending: Ending,
    *,
    started: Callable[[int | None], None] = lambda _: None,
    supervisor: Supervisor | None = None,
) -> NoReturn:
    """Serve until asked to stop, finish the accepted requests, and end this process; see `Ending.run`.

    Parameters
    ----------
    settings : Settings
        Models, addresses and limits.
    http : socket
        See `listen`.
    ending : Ending
        Asks the server to stop, and ends the process if it does not.
    started : callable
        Called with the gRPC port, or None, once connections are accepted.
    supervisor : Supervisor, optional
        Gets a sign of life every second. No connection is accepted before every model has explained a first picture,
        as another process may be ready already.

    Raises
    ------
    SecamError
        A model cannot be opened, or the gRPC port cannot be used.
    """
    share_arenas()
    repository = ModelRepository()
    decoders = decoders_for(settings.limits)
    for name, path in settings.models.items():
        repository.update(ExplainerModel(name, path, settings, decoders))
    data_plane = ExplainerDataPlane(repository)
    limits = settings.limits
    admission = Admission(limits)
    config = uvicorn.Config(
        GuardMiddleware(application(data_plane, settings, version("secam-onnx")), settings, admission),
        http=functools.partial(GuardedConnection, limits=limits, crowd=Crowd(limits.max_connections)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=cast(int, limits.grace_s),  # what takes it takes parts of a second as well
    )

    def work() -> None:
        # Here, as it holds for a thread and what that starts.
        predictor = PredictorConfig(settings.predictor_host) if settings.predictor_host else None
        kserve_context.set_predictor_config(predictor)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            try:
                server = uvicorn.Server(config)
                runner.run(_serve(server, http, data_plane, admission, settings, ending, started, supervisor))
            except SecamError as error:
                ending.answered(error)  # now, as closing the runner waits for models that are being opened

    ending.run(work)


async def _serve(
    server: uvicorn.Server,
    http: socket.socket,
    data_plane: ExplainerDataPlane,
    admission: Admission,
    settings: Settings,
    ending: Ending,
    started: Callable[[int | None], None],
    supervisor: Supervisor | None,
) -> None:
    models = list(data_plane.model_registry.get_models().values())
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    ending.when_asked(lambda: loop.call_soon_threadsafe(stopping.set))

    async def open_models() -> None:
        try:
            for model in models:
                await model.open()
                logger.info("ready", extra={"model": model.name, "file": str(model.path)})
            if supervisor is not None:
                supervisor.changed()
        except SecamError:
            ending.ask()
            raise

    async def watch() -> None:
        pulse = Pulse(settings.limits.timeout_s)
        while True:
            data_plane.trouble = pulse.feel([Beat(await data_plane.ready())])
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    opening = asyncio.create_task(open_models())
    if supervisor is not None:
        supervisor.report(loop, data_plane.ready)
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait([opening, stopped], return_when=asyncio.FIRST_COMPLETED)
    if supervisor is None or not stopping.is_set():
        async with _grpc(data_plane, admission, settings, stopping, ending) as port:
            started(port)
            await _http(server, http, stopping)
            if server.server_state.connections or server.server_state.tasks:
                ending.cut()
    opening.cancel()
    (failure,) = await asyncio.gather(opening, return_exceptions=True)
    ending.answered(failure if isinstance(failure, SecamError) else None)
    watching.cancel()
    stop_all()
    for model in models:
        await model.close()
    if isinstance(failure, SecamError):
        raise failure


async def _http(server: uvicorn.Server, http: socket.socket, stopping: asyncio.Event) -> None:
    """Answer HTTP until told to stop, and then what was accepted, for the time of grace."""

    async def stop() -> None:
        await stopping.wait()
        server.should_exit = True

    task = asyncio.create_task(stop())
    try:
        await server.serve([http])
    finally:
        task.cancel()


@contextlib.asynccontextmanager
async def _grpc(
    data_plane: ExplainerDataPlane, admission: Admission, settings: Settings, stopping: asyncio.Event, ending: Ending
) -> AsyncIterator[int | None]:
    """Run the gRPC server, if there is to be one, until told to stop; yields its port."""
    if settings.grpc_port is None:
        yield None
        return
    server, port = grpc_server(data_plane, settings, admission)
    await server.start()

    async def stop() -> None:
        await stopping.wait()
        grace = settings.limits.grace_s
        since = time.monotonic()
        await server.stop(grace)
        if time.monotonic() - since >= grace:  # what ran still was cancelled
            ending.cut()

    task = asyncio.create_task(stop())
    try:
        yield port
    finally:
        stopping.set()
        await task
