"""Where the command line writes to the terminal: nothing that it says reaches it otherwise, nor raw."""

from __future__ import annotations

import json
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

import click

from secam_onnx.cli.streams import write
from secam_onnx.shown_text import shown, shown_json, shown_lines

__all__ = ["clear_line", "overwrite_line", "say", "say_json", "say_lines", "show_tracebacks_safely"]

_TO_ITS_BEGINNING = "\r\033[K"  # and clears what was there


def say(text: str, *, heading: str = "", err: bool = False) -> None:
    """Write a line; `heading`, which is ours, stands before it in bold type."""
    write(click.style(heading, bold=True) * bool(heading) + shown(text), err=err)


def say_lines(text: str, *, err: bool = False) -> None:
    """Write several lines that we laid out ourselves."""
    write(shown_lines(text), err=err)


def say_json(value: Any, *, indent: int | None = None, err: bool = False, ascii_only: bool = True) -> None:
    """Write JSON, for other programs."""
    write(shown_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent)), err=err)


def overwrite_line(text: str) -> None:
    """Write on stderr, a terminal, in place of the line that is there."""
    write(_TO_ITS_BEGINNING + shown(text), nl=False, err=True)


def clear_line() -> None:
    """Clear the line that `overwrite_line` wrote."""
    overwrite_line("")


def show_tracebacks_safely() -> None:
    """Show the exceptions that nobody expected without what their messages would tell the terminal to do."""

    def show(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if sys.stderr is not None:
            say_lines("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), err=True)

    sys.excepthook = show
    threading.excepthook = lambda given: (
        None if given.exc_type is SystemExit else show(given.exc_type, given.exc_value, given.exc_traceback)
    )
