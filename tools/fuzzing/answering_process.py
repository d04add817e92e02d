"""A process that answers a line with a line, so that what a file does to it costs the fuzzer nothing."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence

__all__ = ["AnsweringProcess", "answer_lines"]

_READY, _START_S = "ready", 600


class AnsweringProcess:
    """Asks a process that runs `answer_lines`; a new one is started when it is lost.

    Parameters
    ----------
    command : sequence of str
        What starts it.
    limit : float
        Seconds that an answer may take.
    """

    def __init__(self, command: Sequence[str], limit: float) -> None:
        self._command, self._limit = command, limit
        self._process: subprocess.Popen[str] | None = None

    def ask(self, line: str) -> str:
        """What it says, or how it ended."""
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._command, text=True, stdin=pipe, stdout=pipe)
            if _answer(self._process, _START_S) != _READY:
                raise RuntimeError("The process that reads the mutants does not start; what it says stands above.")
        print(line, file=self._process.stdin, flush=True)
        answer = _answer(self._process, self._limit)
        if not answer:
            hangs = self._process.poll() is None
            self._process.kill()
            answer = f"FOUND {'a hang' if hangs else f'exit {self._process.wait()}'}"
            self.close()
        return answer

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None


def _answer(process: subprocess.Popen[str], limit: float) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], limit)
    line = process.stdout.readline().strip() if ready else ""
    if ready and not line:
        process.wait()
    return line


def answer_lines(answer: Callable[[str], str]) -> None:
    """Answer the lines that come in, with `FOUND` and the error where one is raised."""
    answers = os.fdopen(os.dup(1), "w")
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # libraries print what they think of a file
    print(_READY, file=answers, flush=True)
    for line in sys.stdin:
        try:
            said = answer(line.strip())
        except BaseException as error:
            said = f"FOUND {type(error).__name__}: {error}"
        print(said.replace("\n", " "), file=answers, flush=True)
