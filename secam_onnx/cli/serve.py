"""`secam-onnx serve`."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from secam_onnx.cli.console import say
from secam_onnx.cli.options import (
    Decorator,
    formats_option,
    grouped,
    memory_limit_option,
    provider_option,
    threads_option,
)
from secam_onnx.serve.settings import Limits, Settings, bracketed

__all__ = ["command"]

_MODEL = re.compile(r"([A-Za-z0-9._-]+)=(.+)", re.DOTALL)
_PORT = click.IntRange(0, 65535)

_COUNT = click.IntRange(1, 2**31 - 1)
_SECONDS = click.FloatRange(0, 86_400, min_open=True)
_MILLISECONDS = click.FloatRange(0, 60_000)
_PENDING = click.FloatRange(0, 1_000_000, min_open=True)
_MEGABYTES = click.FloatRange(0, 2047, min_open=True)  # gRPC counts in 32 bits
_MEBIBYTE = 1 << 20
# Name of the limit, option, type, help.
_LIMITS: tuple[tuple[str, str, click.ParamType[Any], str], ...] = (
    ("max_batch_size", "--max-batch-size", _COUNT, "Put at most N photographs into a forward pass."),
    (
        "max_latency_ms",
        "--max-latency-ms",
        _MILLISECONDS,
        "Let a photograph wait for N milliseconds for others that share its forward pass.",
    ),
    ("max_body_mb", "--max-body-mb", _MEGABYTES, "Refuse requests of more than N megabytes (413)."),
    (
        "max_pending_mb",
        "--max-pending-mb",
        _PENDING,
        "Refuse requests beyond N megabytes of them and of their answers (429).",
    ),
    ("max_pixels", "--max-pixels", _COUNT, "Refuse photographs of more than N pixels."),
    ("max_images", "--max-images", _COUNT, "Refuse requests of more than N photographs."),
    ("queue_length", "--queue-length", _COUNT, "Refuse requests while N photographs wait for an answer (429)."),
    (
        "max_connections",
        "--max-connections",
        _COUNT,
        "Refuse requests while N connections are answered (503).",
    ),
    ("timeout_s", "--timeout", _SECONDS, "End a run and answer 504 after N seconds."),
    ("decode_s", "--decode-timeout", _SECONDS, "Refuse a photograph whose decoding takes N seconds (400)."),
    ("client_timeout_s", "--client-timeout", _SECONDS, "Give a client N seconds to send its headers, and its body."),
    ("grace_s", "--grace", _SECONDS, "Give requests N seconds to finish after SIGTERM."),
)


def _limit_option(name: str, option: str, type_: click.ParamType[Any], text: str) -> Decorator:
    default = getattr(Limits(), name.replace("_mb", "_bytes"))
    if name.endswith("_mb"):
        default /= _MEBIBYTE
    return click.option(option, name, type=type_, default=default, show_default=True, metavar="N", help=text)


def _settings(
    *,
    models: tuple[str, ...],
    model_name: str | None,
    host: str,
    port: int,
    grpc_port: int,
    no_grpc: bool,
    predictor_host: str | None,
    threads: int | None,
    provider: str,
    api_key_file: Path | None,
    allowed_hosts: tuple[str, ...],
    formats: tuple[str, ...] | None,
    no_page: bool,
    log_level: str,
    **limits: Any,
) -> Settings:
    from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS
    from secam_onnx.serve import kserve_sdk  # noqa: F401 (it says what to install if KServe is missing)
    from secam_onnx.serve.api_keys import read_keys

    for name in ("max_body", "max_pending"):
        limits[f"{name}_bytes"] = int(limits.pop(f"{name}_mb") * _MEBIBYTE)
    return Settings(
        models=_named(models, model_name),
        host=host,
        port=port,
        grpc_port=None if no_grpc else grpc_port,
        provider=provider,
        threads=threads,
        predictor_host=predictor_host,
        key_digests=read_keys(api_key_file) if api_key_file is not None else (),
        allowed_hosts=allowed_hosts,
        page=not no_page,
        log_level=log_level,
        formats=DEFAULT_FORMATS if formats is None else formats,
        limits=Limits(**limits),
    )


@click.command("serve")
@grouped(
    "settings",
    _settings,
    click.option(
        "-m",
        "--model",
        "models",
        multiple=True,
        metavar="[NAME=]FILE",
        help="Serve this ONNX classifier, a file or the folder that holds it; may be repeated.  [default: "
        "EfficientNet-Lite0 for ImageNet]",
    ),
    click.option(
        "--model-name",
        "--model_name",
        "model_name",
        metavar="NAME",
        help="Serve the only model under this name (KServe's option).",
    ),
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        help="Listen on this address; 0.0.0.0 stands for all addresses of this machine.",
    ),
    click.option(
        *("--port", "--http-port", "--http_port"),
        "port",
        type=_PORT,
        default=8080,
        show_default=True,
        help="Answer HTTP on this port; 0 takes any free one.",
    ),
    click.option(
        *("--grpc-port", "--grpc_port"),
        "grpc_port",
        type=_PORT,
        default=8081,
        show_default=True,
        help="Answer gRPC on this port.",
    ),
    click.option("--no-grpc", is_flag=True, help="Answer HTTP only."),
    click.option(
        *("--predictor-host", "--predictor_host"),
        "predictor_host",
        metavar="HOST[:PORT]",
        help="Forward :predict to this server, as KServe expects of an explainer.",
    ),
    formats_option,
    threads_option,
    provider_option,
    click.option(
        "--api-key-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Ask every request for one of the keys in this file, one per line (# begins a comment).  [default: no "
        "keys]",
    ),
    click.option(
        "--allowed-host",
        "allowed_hosts",
        multiple=True,
        metavar="NAME",
        help="Answer requests for this name (their Host header) as well, as behind a proxy; may be repeated, and * "
        "takes every name.  [default: addresses, localhost, --host, and this machine's name if others reach it]",
    ),
    click.option("--no-page", is_flag=True, help="Serve no page at /."),
    click.option(
        "--log-level",
        type=click.Choice(["DEBUG", "INFO", "WARNING"]),
        default="INFO",
        show_default=True,
        help="Write messages of this level and above to the log.",
    ),
    *(_limit_option(*limit) for limit in _LIMITS),
)
@memory_limit_option
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Start N processes, each with its models.",
)
def command(settings: Settings, workers: int) -> None:
    """Serve predictions and explanations over KServe's protocols.

    POST a photograph to /v1/models/NAME:explain, or use any client of the Open Inference Protocol (version 2, HTTP and
    gRPC). Try it on the page at /. Export models that need options first (`secam-onnx export`).

    Ends on SIGTERM or Ctrl-C, within --grace and two seconds; a second one ends it at once. Exit code 0: everything
    that was accepted was answered; 1: something was cut off; 2: it could not start.
    """
    from secam_onnx.serve import logs
    from secam_onnx.serve.access_log import logger
    from secam_onnx.serve.ending import CUT_OFF, Ending, leave, on_signals
    from secam_onnx.serve.server import listen, serve
    from secam_onnx.serve.workers import supervise

    logs.configure(settings.log_level)
    if not settings.key_digests and settings.host not in ("127.0.0.1", "localhost", "::1"):
        logger.warning(
            "anybody who reaches this address may use it; --api-key-file asks for keys", extra={"host": settings.host}
        )
    http = listen(settings.host, settings.port)
    shown = bracketed(settings.host)

    def started(grpc: int | None) -> None:
        calls = "" if grpc is None else f" and gRPC on {shown}:{grpc}"
        say(f"http://{shown}:{http.getsockname()[1]}/{calls} (Ctrl-C to stop)")

    if workers == 1:
        ending = Ending(settings.limits.grace_s)
        on_signals(ending.ask, functools.partial(leave, CUT_OFF))
        serve(settings, http, ending, started=started)
    else:
        supervise(settings, http, workers, started=started)


def _named(models: Sequence[str], only: str | None) -> dict[str, Path]:
    """Model files by name: the given one, or that of the file."""
    from secam_onnx.default_model import default_model
    from secam_onnx.errors import ModelError
    from secam_onnx.graph.locate import model_file

    if only is not None and len(models) > 1:
        raise click.UsageError("--model-name goes with one model; name several with --model NAME=FILE.")
    named: dict[str, Path] = {}
    for entry in models or (str(default_model()),):
        match = _MODEL.fullmatch(entry)
        path = Path(match[2] if match else entry)
        name = only or (match[1] if match else (path.name if path.is_dir() else path.stem))
        if name in named:
            raise click.UsageError(f"Two models are called {name!r}; give them names: --model NAME=FILE.")
        named[name] = model_file(path)
        if not named[name].is_file():
            raise ModelError(
                f"{named[name]} does not exist, or is not a file; give the path of an .onnx file: --model [NAME=]FILE."
            )
    return named
