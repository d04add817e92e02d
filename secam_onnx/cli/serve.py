"""`secam-onnx serve`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("serve")
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]FILE",
    help="ONNX classifier, or its folder; may be repeated.  [default: EfficientNet-Lite0, ImageNet]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all of them.")
@click.option(
    "--port", "--http-port", "--http_port", "port", type=click.IntRange(0, 65535), default=8080, show_default=True
)
@click.option("--grpc-port", "--grpc_port", type=click.IntRange(0, 65535), default=8081, show_default=True)
def command(models: tuple[str, ...], host: str, port: int, grpc_port: int) -> None:
    """Answer over KServe's protocols: what does the model say, and why?"""
    from secam_onnx.serve import logs
    from secam_onnx.serve.server import listen, serve
    from secam_onnx.serve.settings import Settings
    from secam_onnx.sidecars import default_model, model_file

    named = {}
    for entry in models or (str(default_model()),):
        name, separator, file = entry.rpartition("=")
        path = model_file(Path(file))
        named[name if separator else Path(file).stem] = path
    settings = Settings(named, host, port, grpc_port)
    logs.configure()
    http = listen(host, port)
    click.echo(f"http://{host}:{http.getsockname()[1]}/ (Ctrl-C to stop)")
    serve(settings, http)
