"""A web server for the page on this machine, which serves its files and the model and nothing else."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from secam_onnx.errors import OptionError
from secam_onnx.page.content import HEADERS, media_type
from secam_onnx.page.visitors import LOOPBACK, ForeignPageError, WrongHostError, check_host, check_page

__all__ = ["PageServer"]


class PageServer(ThreadingHTTPServer):
    """Answers GET and HEAD requests for a set of files, on 127.0.0.1.

    Parameters
    ----------
    files : mapping
        The files, by their URL path without the leading slash.
    port : int
        0 for any free port.

    Raises
    ------
    OptionError
        The port cannot be used.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows it would share a port that is in use
    allow_reuse_port = False  # so would this, which some versions of Python turn on

    def __init__(self, files: Mapping[str, Path], port: int) -> None:
        self.files = {f"/{name}": file for name, file in files.items()}
        self.files["/"] = self.files["/index.html"]
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise OptionError(
                f"Port {port} of 127.0.0.1 cannot be used ({error}); choose another, or 0 for any free one."
            ) from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore that a browser disconnects early."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """What to open in the browser."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "secam-onnx", ""
    timeout = 60

    def do_GET(self) -> None:  # as the base class calls it
        file = self._found()
        if file is not None:
            with file.open("rb") as content:
                self._head(file, os.fstat(content.fileno()).st_size)
                shutil.copyfileobj(content, self.wfile)

    def do_HEAD(self) -> None:
        file = self._found()
        if file is not None:
            self._head(file, file.stat().st_size)

    def _found(self) -> Path | None:
        path = self.path.partition("?")[0]
        hosts = self.headers.get_all("Host", [])
        try:
            check_host(hosts, LOOPBACK)
            check_page(self.command, hosts[0], self.headers.get, is_page=path == "/")
        except WrongHostError as error:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, explain=str(error))
            return None
        except ForeignPageError as error:
            self.send_error(HTTPStatus.FORBIDDEN, explain=str(error))
            return None
        file = self.server.files.get(path)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        return file

    def _head(self, file: Path, size: int) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", media_type(file))
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing: the terminal is for errors."""
