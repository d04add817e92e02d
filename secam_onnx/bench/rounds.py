"""Taking turns: candidates are timed round after round, so that a slow drift of the machine affects all of them.

A second busy process does not slow all of them alike: a network on all cores suffers more than work on one core. So the
cores that other processes keep busy are measured, too; ratios can be trusted only where these are close to 0.
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
PAUSE = 0.15  # seconds before a call, as threads of ONNX Runtime spin for up to 0.1 s after a run
_STAT = Path("/proc/stat")

Times = dict[str, list[float]]
"""One number per round, by candidate."""


class DropoutError(SecamError):
    """A candidate drops out; the message says why. The others go on."""


@dataclass(frozen=True)
class Elsewhere:
    """The time of a call that another, lasting process carried out.

    Attributes
    ----------
    seconds : float
        Wall time in that process.
    cpu_seconds : float
        Processor time in that process, which does not count as that of others.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Candidate:
    """Something to time.

    Attributes
    ----------
    call : callable
        What is timed. If it returns `Elsewhere`, that time counts.
    rounds : int or None
        Rounds in which it takes part, without warm-up, for slow candidates; None for all.
    images : int
        Images per call; times are given per image.
    at_once : bool
        Call it without a pause, as in a loop over photographs.
    """

    call: Callable[[], object]
    rounds: int | None = None
    images: int = 1
    at_once: bool = False


@dataclass(frozen=True)
class Rounds:
    """The times of all candidates.

    Attributes
    ----------
    ms : dict
        Milliseconds per image of every call that counts.
    others_cores : dict
        Cores that other processes kept busy during each call and the pause before it; empty where the system does not
        tell.
    skipped : dict
        The reasons why candidates dropped out.
    """

    ms: Times
    others_cores: Times
    skipped: dict[str, str] = field(default_factory=dict)


def take_turns(candidates: Mapping[str, Candidate], rounds: int, *, warm_up: int = WARM_UP) -> Rounds:
    """Time candidates in turns.

    Parameters
    ----------
    candidates : mapping
        What to time, in the order of each round.
    rounds : int
        Rounds that count.
    warm_up : int
        Rounds before these.
    """
    running = dict(candidates)
    result = Rounds({name: [] for name in running}, {name: [] for name in running})
    for round_ in range(-warm_up, rounds):
        for name, candidate in list(running.items()):
            if candidate.rounds is not None and not 0 <= round_ < candidate.rounds:
                continue
            try:
                seconds, others = _timed(candidate)
            except DropoutError as error:
                del running[name], result.ms[name], result.others_cores[name]
                result.skipped[name] = str(error)
                continue
            if round_ >= 0:
                result.ms[name].append(seconds * 1e3 / candidate.images)
                result.others_cores[name] += others
    return result


def _timed(candidate: Candidate) -> tuple[float, list[float]]:
    """Seconds of one call, and the cores that other processes kept busy meanwhile, if the system tells."""
    others: list[float] = []
    with _other_processes(others) as elsewhere:
        time.sleep(0 if candidate.at_once else PAUSE)
        start = time.perf_counter()
        answer = candidate.call()
        seconds = time.perf_counter() - start
        if isinstance(answer, Elsewhere):
            seconds = answer.seconds
            elsewhere.append(answer.cpu_seconds)
    return seconds, others


@contextlib.contextmanager
def _other_processes(cores: list[float]) -> Iterator[list[float]]:
    """Append how many cores other processes kept busy during the block.

    Our own time is that of this process, of its children that have ended, and what is appended to the list that is
    yielded. Time that other virtual machines took (steal) counts as that of others.
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
