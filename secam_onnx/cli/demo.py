"""`secam-onnx demo`."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from secam_onnx.cli.console import say
from secam_onnx.cli.options import memory_limit_option, model_option, timeout_option
from secam_onnx.cli.progress import step
from secam_onnx.cli.stopping import watch

__all__ = ["command"]

_PORT = 8765


@click.command("demo")
@model_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Serve the page on this port; 0 takes any free one.  [default: 8765]",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option(
    "--static",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write the page as files for any web server into this folder, and stop.",
)
@click.option("--force", is_flag=True, help="With --static: write into the folder even if it holds other files.")
@timeout_option
@memory_limit_option
def command(model: Path | None, port: int | None, no_browser: bool, folder: Path | None, force: bool) -> None:
    """Open a page that explains the photographs you drop on it.

    The model runs in the browser (WebAssembly), and photographs stay there. Export a model that needs options first
    (`secam-onnx export`). Ctrl-C stops the page.
    """
    from secam_onnx.classifier.fused import fused_metadata
    from secam_onnx.default_model import default_model
    from secam_onnx.files import temporary_folder
    from secam_onnx.page import MODEL, PageServer, check_folder, model_for_browsers, page_files, write_page

    if force and folder is None:
        raise click.UsageError("--force goes with --static.")
    if folder is not None and (no_browser or port is not None):
        raise click.UsageError("--static writes files and stops; leave --port and --no-browser out.")
    if folder is not None:
        check_folder(folder, force=force)
    with temporary_folder() as temporary:
        ready = model_for_browsers(model or default_model(), temporary, step)
        metadata = fused_metadata(ready)
        origin = metadata.origin if metadata is not None else {}
        note, warning = origin.get("preprocessing", ""), origin.get("preprocessing_warning")
        if note.startswith("assumed"):
            say(f"Preprocessing {note}. To change it: secam-onnx export MODEL --preprocess PRESET.", err=True)
        if metadata is not None and metadata.probability_note.startswith(("assumed", "none")):
            say(f"Probability {metadata.probability_note}.", err=True)
        if warning:
            say(f"Warning: {warning}", err=True)
        if folder is not None:
            write_page(folder, ready, force=force)
            say(f"{folder}: put it on a web server, or try `python -m http.server -d {folder}`.")
            return
        with PageServer({**page_files(), MODEL: ready}, _PORT if port is None else port) as server:
            watch.end_after(None)  # which is for what comes before
            say(f"{server.address} (Ctrl-C to stop)")
            if not no_browser:
                webbrowser.open(server.address)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                say("Stopped.", err=True)
