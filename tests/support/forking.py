"""Work in forked children that a test ends after some seconds, whatever they do."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["in_process"]

TIMEOUT_S = 60


def in_process(method: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work` returns in another process, started by fork, spawn or forkserver.

    Raises
    ------
    Exception
        What it raises there.
    TimeoutError
        It hangs; the process was killed.
    """
    context: Any = multiprocessing.get_context(method)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(there, work, arguments))
    process.start()
    there.close()
    try:
        if not here.poll(TIMEOUT_S):
            raise TimeoutError(f"{work} hangs in a process started by {method}")
        result = here.recv()
        process.join(TIMEOUT_S)
        if process.exitcode is None:
            raise TimeoutError(f"a process started by {method} does not end after {work}")
    finally:
        process.kill()
        process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _report(there: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        result = work(*arguments)
    except Exception as error:
        traceback.print_exc()
        result = error
    there.send(result)
    there.close()
