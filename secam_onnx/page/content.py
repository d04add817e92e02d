"""The files of the page in both its forms, and the headers that they are sent with."""

from __future__ import annotations

from pathlib import Path

__all__ = ["HEADERS", "INDEX", "MODEL", "media_type", "page_files", "served_files", "served_html"]

INDEX, MODEL = "index.html", "model.onnx"

HEADERS = {
    # Without these two headers, browsers give WebAssembly a single thread.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Headers of every response, from either server."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".gz": "application/gzip",
    ".onnx": "application/octet-stream",
}
_HERE = Path(__file__).parent
_OF_THE_ENGINE = ("engine.js", "main.js", "metadata.js", "worker.js")  # they run the model in the browser


def media_type(file: Path) -> str:
    """The `Content-Type` of a file."""
    return _TYPES.get(file.suffix, "text/plain; charset=utf-8")


def page_files() -> dict[str, Path]:
    """The files of the page that runs the model itself, by their relative URL."""
    return _by_url([_HERE / INDEX, *_HERE.glob("*.css"), *_HERE.glob("*.js"), *(_HERE / "vendor").iterdir()])


def served_files() -> dict[str, Path]:
    """The files of the page that asks a server, except its HTML, by their relative URL."""
    shared = [file for file in _HERE.glob("*.js") if file.name not in _OF_THE_ENGINE]
    return _by_url([*_HERE.glob("*.css"), *shared, *(_HERE / "served").glob("*.js")])


def served_html(folder: str) -> str:
    """The HTML of the page that asks a server.

    Parameters
    ----------
    folder : str
        URL of the files relative to the HTML, with a slash at its end.
    """
    text = (_HERE / INDEX).read_text(encoding="utf-8")
    return text.replace('href="style.css"', f'href="{folder}style.css"').replace(
        'src="main.js"', f'src="{folder}served/main.js"'
    )


def _by_url(files: list[Path]) -> dict[str, Path]:
    return {file.relative_to(_HERE).as_posix(): file for file in files}
