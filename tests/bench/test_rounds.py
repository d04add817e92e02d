"""Turns: who is called when, what counts, and whose processor time it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from secam_onnx.bench import Candidate, DropoutError, Elsewhere, rounds, take_turns


@pytest.fixture(autouse=True)
def without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAUSE", 0)


def test_all_take_turns_and_the_slow_ones_stay_away_later() -> None:
    order: list[str] = []

    def call(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    found = take_turns({"a": Candidate(call("a")), "slow": Candidate(call("s"), rounds=1)}, 3, warm_up=2)
    assert "".join(order) == "aa" + "as" + "aa"
    assert {name: len(times) for name, times in found.ms.items()} == {"a": 3, "slow": 1}


def test_times_are_for_one_image() -> None:
    found = take_turns({"four": Candidate(lambda: Elsewhere(0.5, 0), images=4)}, 1, warm_up=0)
    assert found.ms["four"] == [125]


def test_a_process_that_lives_on_tells_its_own_time() -> None:
    found = take_turns({"peer": Candidate(lambda: Elsewhere(0.5, 0)), "own": Candidate(lambda: None)}, 2, warm_up=0)
    assert found.ms["peer"] == [500, 500]
    assert 0 < found.ms["own"][0] < 500


def test_one_drops_out_and_the_others_go_on() -> None:
    left = iter([None, None])

    def breaks() -> None:
        if next(left, "none") == "none":
            raise DropoutError("out of memory")

    found = take_turns({"breaks": Candidate(breaks), "stays": Candidate(lambda: None)}, 3, warm_up=1)
    assert found.skipped == {"breaks": "out of memory"}
    assert list(found.ms) == list(found.others_cores) == ["stays"]
    assert len(found.ms["stays"]) == 3


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not tell")
def test_processor_time_is_ours_or_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's counters are played; the time of this process and of children that have ended is subtracted."""
    ticks = iter([0, 300])  # at 100 a second, 3 s

    class Stat:
        def exists(self) -> bool:
            return True

        def read_text(self, encoding: str) -> str:
            return f"cpu {next(ticks)} 0 0 0 0 0 0 0"

    clock = iter([0.0, 0.0, 2.0, 2.0])
    own = iter([(0.0, 0.0, 0.0, 0.0), (0.5, 0.25, 0.125, 0.125)])
    monkeypatch.setattr(rounds, "_STAT", Stat())
    monkeypatch.setattr(rounds.os, "times", lambda: next(own))
    monkeypatch.setattr(rounds.os, "sysconf", lambda _: 100)
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: next(clock))
    found = take_turns({"peer": Candidate(lambda: Elsewhere(0.1, 1.0), at_once=True)}, 1, warm_up=0)
    assert found.others_cores["peer"] == [pytest.approx((3 - 1 - 1) / 2)]
