"""Taking turns: candidates are timed round after round, so that a slow drift of the machine meets all of them.

A second busy process does not disturb them alike (a network on all cores suffers more than what runs on one), so what
others took is measured too: believe no ratio where that is not close to 0.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from secam_onnx.errors import SecamError

__all__ = ["Candidate", "DropoutError", "Elsewhere", "Rounds", "Times", "take_turns"]

WARM_UP = 3  # rounds that are not counted
PAUSE = 0.15  # seconds before a call: threads of ONNX Runtime spin for up to 0.1 s after a run
_STAT = Path("/proc/stat")

Times = dict[str, list[float]]
"""Candidate -> one number a round."""


class DropoutError(SecamError):
    """A candidate cannot go on; the others do. The message says why."""


@dataclass(frozen=True)
class Elsewhere:
    """What a call took that was carried out by a process that lives on.

    Attributes
    ----------
    seconds : float
        Wall time there.
    cpu_seconds : float
        Processor time there, which is not other people's.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Candidate:
    """Something to time.

    Attributes
    ----------
    call : callable
        What is timed; it may answer with `Elsewhere`, which then counts.
    rounds : int or None
        Takes part in that many rounds only, for what takes long, and is not warmed up here; None: in all.
    images : int
        How many images a call deals with; times are given for one.
    at_once : bool
        Without the pause, as in a loop over photographs.
    """

    call: Callable[[], object]
    rounds: int | None = None
    images: int = 1
    at_once: bool = False


@dataclass(frozen=True)
class Rounds:
    """What taking turns gave.

    Attributes
    ----------
    ms : dict
        Milliseconds an image, of each call that counts.
    others_cores : dict
        Cores that other processes kept busy during each call and the pause before it; empty where the system does not
        tell.
    skipped : dict
        Candidates that dropped out, with the reason.
    """

    ms: Times
    others_cores: Times
    skipped: dict[str, str] = field(default_factory=dict)


def take_turns(candidates: Mapping[str, Candidate], rounds: int, *, warm_up: int = WARM_UP) -> Rounds:
    """Time candidates in turns.

    Parameters
    ----------
    candidates : mapping
        What to time, in the order of a round.
    rounds : int
        Rounds that count.
    warm_up : int
        Rounds before that.
    """
    running = dict(candidates)
    result = Rounds({name: [] for name in running}, {name: [] for name in running})
    for round_ in range(-warm_up, rounds):
        for name, candidate in list(running.items()):
            if candidate.rounds is not None and not 0 <= round_ < candidate.rounds:
                continue
            others: list[float] = []
            try:
                with _other_processes(others) as elsewhere:
                    time.sleep(0 if candidate.at_once else PAUSE)
                    start = time.perf_counter()
                    answer = candidate.call()
                    seconds = time.perf_counter() - start
                    if isinstance(answer, Elsewhere):
                        seconds = answer.seconds
                        elsewhere.append(answer.cpu_seconds)
            except DropoutError as error:
                del running[name], result.ms[name], result.others_cores[name]
                result.skipped[name] = str(error)
                continue
            if round_ >= 0:
                result.ms[name].append(seconds * 1e3 / candidate.images)
                result.others_cores[name] += others
    return result


@contextlib.contextmanager
def _other_processes(cores: list[float]) -> Iterator[list[float]]:
    """Append how many cores were busy with others' processes meanwhile.

    Ours are this one, its children that have ended, and what is appended to the list that is yielded. What other
    virtual machines took (steal) is others' too.
    """

    def spent() -> float:
        user, nice, system, _, _, *others = map(int, _STAT.read_text(encoding="ascii").split()[1:9])
        return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])

    elsewhere: list[float] = []
    if not _STAT.exists():
        yield elsewhere
        return
    start, busy = time.perf_counter(), spent()
    yield elsewhere
    cores.append((spent() - busy - sum(elsewhere)) / (time.perf_counter() - start))
