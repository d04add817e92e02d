"""Standard streams that are closed, full or no longer read."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

import click

from secam_onnx.errors import OutputError

__all__ = ["flush", "of_click", "open_closed", "write"]


def open_closed() -> None:
    """Open streams that are closed on the null device, or files that are opened next would take their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def write(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Write text on standard output, or on standard error, where what cannot be written is lost and the work goes on.

    Raises
    ------
    OutputError
        Standard output cannot be written.
    BrokenPipeError
        Nobody reads it any more; click ends the program quietly.
    """
    try:
        click.echo(text, nl=nl, err=err)
    except BrokenPipeError:
        if not err:
            raise
    except OSError as error:
        if not err:
            raise _let_go(error) from error


def flush() -> None:
    """Write what standard output holds back.

    Raises
    ------
    OutputError
        Standard output cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _let_go(error) from error


def of_click(error: OSError) -> OutputError | None:
    """The error to show for one that click met when it wrote help or a version; None for any other."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return _let_go(error) if frame.f_code is click.echo.__code__ else None


def _let_go(error: OSError) -> OutputError:
    # What is held back is let go of as well, or Python would try again at the end.
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    return OutputError(
        f"Standard output cannot be written ({error.strerror or error}). Files that the command has written are whole; "
        "send its output elsewhere."
    )
