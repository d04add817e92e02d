"""`secam-onnx demo`."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path

import click

from secam_onnx.cli.progress import step

__all__ = ["command"]

_PORT = 8765


@click.command("demo")
@click.option(
    "-m",
    "--model",
    type=click.Path(path_type=Path),
    help="ONNX classifier, or its folder.  [default: EfficientNet-Lite0, ImageNet]",
)
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="0: any that is free.  [default: 8765]")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option(
    "--static",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write the page as files for any web server, and stop.",
)
@click.option("--force", is_flag=True, help="With --static: write among other files.")
def command(model: Path | None, port: int | None, no_browser: bool, folder: Path | None, force: bool) -> None:
    """Open a page to play with: drop a photograph, see what carried the decision.

    The model runs in the browser (WebAssembly), and photographs stay there. A model that needs options is exported
    first (`secam-onnx export`). Ctrl-C ends it.
    """
    from secam_onnx.classifier.fused import fused_metadata
    from secam_onnx.graph.locate import default_model
    from secam_onnx.page import MODEL, PageServer, check_folder, model_for_browsers, page_files, write_page

    if force and folder is None:
        raise click.UsageError("--force goes with --static.")
    if folder is not None and (no_browser or port is not None):
        raise click.UsageError("--static writes files and stops; --port and --no-browser go without it.")
    if folder is not None:
        check_folder(folder, force=force)
    # A visitor may still be sent the model at the end, and Windows removes no file that is open.
    with tempfile.TemporaryDirectory(prefix="secam-", ignore_cleanup_errors=True) as temporary:
        ready = model_for_browsers(model or default_model(), Path(temporary), step)
        metadata = fused_metadata(ready)
        origin = metadata.origin if metadata is not None else {}
        note, warning = origin.get("preprocessing", ""), origin.get("preprocessing_warning")
        if note.startswith("assumed"):
            click.echo(f"Preprocessing {note}. Another: secam-onnx export MODEL --preprocess PRESET.", err=True)
        if metadata is not None and metadata.probability_note.startswith(("assumed", "none")):
            click.echo(f"Probability {metadata.probability_note}.", err=True)
        if warning:
            click.echo(f"Warning: {warning}", err=True)
        if folder is not None:
            write_page(folder, ready, force=force)
            click.echo(f"{folder}: put it on a web server, or try `python -m http.server -d {folder}`.")
            return
        with PageServer({**page_files(), MODEL: ready}, _PORT if port is None else port) as server:
            click.echo(f"{server.address} (Ctrl-C to stop)")
            if not no_browser:
                webbrowser.open(server.address)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                click.echo("Stopped.", err=True)
