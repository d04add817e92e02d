"""Progress of slow steps on the terminal: a line for each, with its running time."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

import click

__all__ = ["step"]

_TICK = 0.5  # seconds


@contextlib.contextmanager
def step(text: str, *, keep: bool = True) -> Iterator[None]:
    """Show a step on stderr; on a terminal its seconds count up while it runs, and `keep` leaves its line there."""
    start, done = time.perf_counter(), threading.Event()
    live = sys.stderr.isatty()

    def tick() -> None:
        while not done.wait(_TICK):
            click.echo(f"\r  ... {text} {time.perf_counter() - start:.0f} s", nl=False, err=True)

    ticker = threading.Thread(target=tick, daemon=True)
    if live:
        ticker.start()
    mark = "failed"
    try:
        yield
        mark = "done"
    finally:
        done.set()
        if live:
            ticker.join()
            click.echo("\r\033[K", nl=False, err=True)
        if keep:
            click.echo(f"  {mark}: {text} ({time.perf_counter() - start:.1f} s)", err=True)
