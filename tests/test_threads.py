"""Threads that work ahead: order, bounds, errors."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secam_onnx import threads
from secam_onnx.threads import cores, map_ahead, thread_limit, thread_pool, usable


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_results_come_in_order_and_no_more_items_are_taken_than_asked_for(threads: int, ahead: int) -> None:
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield number

    def slow(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return number * number

    with thread_pool(threads, "test") as pool:
        for place, result in enumerate(itertools.islice(map_ahead(pool, slow, numbers(), ahead), 50)):
            assert result == place * place
            assert taken <= place + 1 + ahead
    assert taken <= 50 + ahead


def test_fewer_items_than_it_may_take() -> None:
    with thread_pool(2, "test") as pool:
        assert list(map_ahead(pool, str, range(3), 10)) == ["0", "1", "2"]
        assert list(map_ahead(pool, str, [], 10)) == []


def test_an_error_comes_in_its_turn_and_the_rest_is_not_begun() -> None:
    begun: list[int] = []
    blocked = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("two")
        if number > 2:
            blocked.wait(10)
        return number

    with thread_pool(1, "test") as pool:
        results = map_ahead(pool, work, range(100), 20)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            next(results)
        blocked.set()
    assert len(begun) <= 4


def test_cores_are_those_this_process_may_use() -> None:
    assert cores() >= 1


@pytest.mark.parametrize(
    ("value", "expected"), [("3", 3), (" 3", 3), ("0003", 3), ("0", None), ("-3", None), ("", None), ("all", None)]
)
def test_omp_num_threads(value: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_limit() == expected
    assert cores() >= 1
    assert expected is None or cores() == expected


@pytest.mark.parametrize("value", ["20000", "9" * 30, "1" + "0" * 5000])
def test_no_more_threads_than_four_for_each_core(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 brought a machine of two cores to a halt."""
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(threads, "_allowed_cores", lambda: 2)
    assert thread_limit() == cores() == usable(20_000) == 8
    assert usable(8) == 8


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("max 100000\n", None),
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("20000 100000\n", 1),
        ("9900000 100000", None),
    ],
)
def test_a_containers_share(content: str, expected: int | None, tmp_path: Path, monkeypatch) -> None:
    """As `docker run --cpus 1.5` writes it."""
    (tmp_path / "cpu.max").write_text(content)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(threads, "_allowed_cores", lambda: 8)
    assert thread_limit() == expected
    assert cores() == (expected or 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert thread_limit() == cores() == 5


def test_without_control_groups_all_cores_are_used(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_CPU_MAX", tmp_path / "none")
    assert thread_limit() is None


@pytest.mark.parametrize(
    ("abandon", "error", "waits"),
    [(True, KeyboardInterrupt, False), (True, ValueError, True), (False, KeyboardInterrupt, True)],
)
def test_ctrl_c_need_not_wait_for_what_runs(abandon: bool, error: type[BaseException], waits: bool) -> None:
    begun, end = threading.Event(), threading.Event()
    running = []

    def work() -> None:
        begun.set()
        end.wait(2)

    def run() -> None:
        with thread_pool(1, "test", abandon=abandon) as pool:
            running.append(pool.submit(work))
            begun.wait()
            raise error

    with pytest.raises(error):
        run()
    assert running[0].done() is waits
    end.set()
