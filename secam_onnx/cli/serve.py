"""`secam-onnx serve`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from secam_onnx.serve.settings import Limits

__all__ = ["command"]

_MODEL = re.compile(r"([A-Za-z0-9._-]+)=(.+)")
_PORT = click.IntRange(0, 65535)

_COUNT = click.IntRange(1, 2**31 - 1)
_SECONDS = click.FloatRange(0, 86_400, min_open=True)
_MILLISECONDS = click.FloatRange(0, 60_000)
_PENDING = click.FloatRange(0, 1_000_000, min_open=True)
_MEGABYTES = click.FloatRange(0, 2047, min_open=True)  # gRPC counts in 32 bits
_MEBIBYTE = 1 << 20
# Name of the limit, option, type, what is said of it.
_LIMITS: tuple[tuple[str, str, click.ParamType[Any], str], ...] = (
    ("max_batch_size", "--max-batch-size", _COUNT, "Photographs in a forward pass."),
    (
        "max_latency_ms",
        "--max-latency-ms",
        _MILLISECONDS,
        "Milliseconds that a photograph which is ready waits for others to share its forward pass.",
    ),
    ("max_body_mb", "--max-body-mb", _MEGABYTES, "Megabytes of one request; beyond that: 413."),
    ("max_pending_mb", "--max-pending-mb", _PENDING, "Megabytes of all requests without an answer; beyond that: 429."),
    ("max_pixels", "--max-pixels", _COUNT, "Pixels of one photograph."),
    ("max_images", "--max-images", _COUNT, "Photographs in one request."),
    ("queue_length", "--queue-length", _COUNT, "Photographs without an answer; beyond that: 429."),
    ("max_connections", "--max-connections", _COUNT, "Open connections; beyond that: 503."),
    ("timeout_s", "--timeout", _SECONDS, "Seconds for an answer; beyond that: 504, and the run is ended."),
    ("client_timeout_s", "--client-timeout", _SECONDS, "Seconds that a client has to send its headers, or its body."),
    ("grace_s", "--grace", _SECONDS, "Seconds that requests have to finish in after SIGTERM."),
)


def _limit_options(command: Callable[..., None]) -> Callable[..., None]:
    defaults = Limits()
    for name, option, type_, text in reversed(_LIMITS):
        if name.endswith("_mb"):
            default = getattr(defaults, name.replace("_mb", "_bytes")) / _MEBIBYTE
        else:
            default = getattr(defaults, name)
        command = click.option(option, name, type=type_, default=default, show_default=True, metavar="N", help=text)(
            command
        )
    return command


@click.command("serve")
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]FILE",
    help="ONNX classifier, or its folder; may be repeated.  [default: EfficientNet-Lite0, ImageNet]",
)
@click.option(
    "--model-name", "--model_name", "model_name", metavar="NAME", help="Of the only model, as KServe says it."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: any of this machine's."
)
@click.option(
    *("--port", "--http-port", "--http_port"),
    "port",
    type=_PORT,
    default=8080,
    show_default=True,
    help="0: any that is free.",
)
@click.option(*("--grpc-port", "--grpc_port"), "grpc_port", type=_PORT, default=8081, show_default=True)
@click.option("--no-grpc", is_flag=True, help="HTTP only.")
@click.option(
    *("--predictor-host", "--predictor_host"),
    "predictor_host",
    metavar="HOST[:PORT]",
    help="Pass :predict on to that server, as an explainer of KServe's does.",
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes, each with its models."
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Of one forward pass.  [default: one a core]")
@click.option("--provider", default="auto", show_default=True, metavar="NAME", help="auto, cpu or cuda.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keys, one a line (# begins a comment), of which a request must bring one.  [default: none is needed]",
)
@click.option("--no-page", is_flag=True, help="No page at /.")
@click.option("--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING"]), default="INFO", show_default=True)
@_limit_options
def command(
    models: tuple[str, ...],
    model_name: str | None,
    host: str,
    port: int,
    grpc_port: int,
    no_grpc: bool,
    predictor_host: str | None,
    workers: int,
    threads: int | None,
    provider: str,
    api_key_file: Path | None,
    no_page: bool,
    log_level: str,
    **limits: Any,
) -> None:
    """Answer over KServe's protocols: what does the model say, and why?

    POST a photograph to /v1/models/NAME:explain, or use any client of the Open Inference Protocol (version 2, HTTP and
    gRPC). The page at / is to try it. Models that need options are exported first (`secam-onnx export`).
    """
    from secam_onnx.serve import kserve_sdk, logs  # noqa: F401 (the first says what to install where it is missing)
    from secam_onnx.serve.access_log import logger
    from secam_onnx.serve.api_keys import read_keys
    from secam_onnx.serve.server import listen, serve
    from secam_onnx.serve.settings import Settings, bracketed
    from secam_onnx.serve.workers import supervise

    for name in ("max_body", "max_pending"):
        limits[f"{name}_bytes"] = int(limits.pop(f"{name}_mb") * _MEBIBYTE)
    settings = Settings(
        models=_named(models, model_name),
        host=host,
        port=port,
        grpc_port=None if no_grpc else grpc_port,
        provider=provider,
        threads=threads,
        predictor_host=predictor_host,
        key_digests=read_keys(api_key_file) if api_key_file is not None else (),
        page=not no_page,
        log_level=log_level,
        limits=Limits(**limits),
    )
    logs.configure(log_level)
    if not settings.key_digests and host not in ("127.0.0.1", "localhost", "::1"):
        logger.warning("whoever reaches this address may use it; --api-key-file asks for keys", extra={"host": host})
    http = listen(host, port)
    shown = bracketed(host)

    def started(grpc: int | None) -> None:
        calls = "" if grpc is None else f" and gRPC on {shown}:{grpc}"
        click.echo(f"http://{shown}:{http.getsockname()[1]}/{calls} (Ctrl-C to stop)")

    if workers == 1:
        serve(settings, http, started=started)
    else:
        supervise(settings, http, workers, started=started)


def _named(models: Sequence[str], only: str | None) -> dict[str, Path]:
    """Model files by name: as given, or as the file is called."""
    from secam_onnx.errors import ModelError
    from secam_onnx.graph.locate import default_model, model_file

    if only is not None and len(models) > 1:
        raise click.UsageError("--model-name is for one model; name several with --model NAME=FILE.")
    named: dict[str, Path] = {}
    for entry in models or (str(default_model()),):
        match = _MODEL.fullmatch(entry)
        path = Path(match[2] if match else entry)
        name = only or (match[1] if match else (path.name if path.is_dir() else path.stem))
        if name in named:
            raise click.UsageError(f"Two models are called {name!r}; give them names: --model NAME=FILE.")
        named[name] = model_file(path)
        if not named[name].is_file():
            raise ModelError(f"{named[name]} does not exist; give the path of an .onnx file: --model [NAME=]FILE.")
    return named
