"""Progress: a line for each slow step, and a bar or lines of JSON for many images."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from secam_onnx.cli.console import clear_line, overwrite_line, say, say_json

if TYPE_CHECKING:
    from secam_onnx.batch.run import Totals
    from secam_onnx.batch.sources import Sources

__all__ = ["bar", "json_lines", "running_steps", "step"]

_TICK = 0.5  # seconds
_LONG = 10.0
_JSON_TICK = 1.0
_running: list[str] = []


def running_steps() -> list[str]:
    """The steps under way, the innermost last."""
    return list(_running)


@contextlib.contextmanager
def step(text: str, *, keep: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show a step on stderr while it runs, and keep its line afterwards if `keep`.

    On a terminal its seconds count up; elsewhere a step that takes long writes a line now and then. It yields a
    function that takes how many parts are done, and of how many.
    """
    start, due, part = time.perf_counter(), _LONG, ""
    live = sys.stderr.isatty()

    def told(done: int, total: int) -> None:
        nonlocal part
        part = f", {done} of {total}"

    def tick() -> None:
        nonlocal due
        seconds = time.perf_counter() - start
        if live:
            overwrite_line(f"  ... {text}{part} {seconds:.0f} s")
        elif seconds >= due:
            say(f"  ... {text}{part} ({seconds:.0f} s so far)", err=True)
            due *= 2

    mark = "failed"
    _running.append(text)
    try:
        with _every(_TICK, tick):
            yield told
        mark = "done"
    finally:
        _running.remove(text)
        if live:
            clear_line()
        if keep:
            say(f"  {mark}: {text} ({time.perf_counter() - start:.1f} s)", err=True)


@contextlib.contextmanager
def bar(totals: Totals, sources: Sources) -> Iterator[None]:
    """Show a bar on stderr: images, images/s and, once the images are counted, the time that is left."""
    from tqdm import tqdm

    count = _counted(sources)
    with tqdm(total=None, desc="explain", unit=" images", unit_scale=False, dynamic_ncols=True, miniters=0) as shown:

        def tick() -> None:
            shown.total = None if count[0] is None else count[0] - totals.passed_over
            shown.set_postfix({"failed": totals.failed} if totals.failed else {}, refresh=False)
            shown.update(totals.done - shown.n)
            shown.refresh()

        with _every(_TICK, tick):
            yield
        tick()


@contextlib.contextmanager
def json_lines(totals: Totals, sources: Sources, **facts: object) -> Iterator[None]:
    """Write a line of JSON on the state to stderr every second, and one at the end, however it ends."""
    count, start = _counted(sources), time.perf_counter()

    def tick(event: str = "progress") -> None:
        seconds = time.perf_counter() - start
        rate = totals.done / max(seconds, 1e-9)
        left = None if count[0] is None else max(0, count[0] - totals.passed_over - totals.done)
        line = {
            "event": event,
            **vars(totals),
            "total": count[0],
            "seconds": round(seconds, 2),
            "images_per_second": round(rate, 2),
            "seconds_left": None if left is None or not totals.done else round(left / rate, 1),
            **facts,
        }
        say_json(line, err=True)

    event = "stopped"
    try:
        with _every(_JSON_TICK, tick):
            yield
        event = "done"
    finally:
        tick(event)


def _counted(sources: Sources) -> list[int | None]:
    """The number of images as soon as another thread has counted them; None until then, or for ever."""
    count = [sources.files]

    def find_out() -> None:
        with contextlib.suppress(Exception):  # the run itself reports errors
            count[0] = sources.count()

    if count[0] is None and sources.countable:
        threading.Thread(target=find_out, daemon=True).start()
    return count


@contextlib.contextmanager
def _every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Call a function again and again while the block runs."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(seconds):
            act()

    ticker = threading.Thread(target=run, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()
