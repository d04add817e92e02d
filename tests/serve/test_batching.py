"""What shares a batch, what waits for what, and what becomes of those that leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

pytest.importorskip("kserve")

from loops import in_loop

from secam_onnx.runtime import running
from secam_onnx.serve.batching import Batcher

PATIENCE_S = 30


class Machine:
    """Doubles numbers, a batch at a time, each once it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def __call__(self, jobs: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(jobs))
        self.begun.release()
        assert self.let.acquire(timeout=PATIENCE_S)
        return [ValueError(f"{job} is odd") if job % 2 else 2 * job for job in jobs]

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE_S)


async def now(job: int) -> int:
    return job


def tasks(batcher: Batcher[int, int], *jobs: int, kind: object = None) -> list[asyncio.Task]:
    return [asyncio.create_task(batcher.submit(now(job), kind)) for job in jobs]


def play(scene: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scene

    in_loop(bounded())


def test_what_comes_while_a_batch_runs_makes_the_next_one() -> None:
    async def scene() -> None:
        machine = Machine()
        batcher: Batcher[int, int] = Batcher(machine, 3, 0)
        first = tasks(batcher, 2)
        await machine.has_begun()
        rest = tasks(batcher, 4, 6, 8, 10)
        await asyncio.sleep(0)
        machine.let.release(3)
        served = await asyncio.gather(*first, *rest)
        assert [entry.result for entry in served] == [4, 8, 12, 16, 20]
        assert machine.batches == [[2], [4, 6, 8], [10]]
        assert [entry.batch_size for entry in served] == [1, 3, 3, 3, 1]
        assert all(entry.queue_s >= 0 for entry in served)
        await batcher.close()

    play(scene())


def test_one_that_is_ready_waits_for_those_on_their_way_but_not_for_ever() -> None:
    async def scene() -> None:
        machine = Machine()
        machine.let.release(9)
        patient: Batcher[int, int] = Batcher(machine, 4, PATIENCE_S)
        arrival = asyncio.Event()

        async def later() -> int:
            await arrival.wait()
            return 4

        slow = asyncio.create_task(patient.submit(later()))
        quick = tasks(patient, 2)
        await asyncio.sleep(0.05)
        assert not machine.batches
        arrival.set()
        await asyncio.gather(slow, *quick)
        assert machine.batches == [[2, 4]]
        # Nobody else comes: no wait, however long it might be.
        await asyncio.gather(*tasks(patient, 6))
        await patient.close()

        hasty: Batcher[int, int] = Batcher(machine, 4, 0.01)
        never = asyncio.create_task(hasty.submit(asyncio.Event().wait()))
        await asyncio.gather(*tasks(hasty, 8))
        assert machine.batches[1:] == [[6], [8]]
        never.cancel()
        await hasty.close()

    play(scene())


def test_only_one_kind_shares_a_batch() -> None:
    async def scene() -> None:
        machine = Machine()
        batcher: Batcher[int, int] = Batcher(machine, 8, 0)
        first = tasks(batcher, 0)
        await machine.has_begun()
        rest = [*tasks(batcher, 2, kind="a"), *tasks(batcher, 4, kind="b"), *tasks(batcher, 6, kind="a")]
        machine.let.release(3)
        await asyncio.gather(*first, *rest)
        assert machine.batches == [[0], [2, 6], [4]]
        await batcher.close()

    play(scene())


def test_a_failure_is_its_own_jobs_only() -> None:
    async def scene() -> None:
        machine = Machine()
        batcher: Batcher[int, int] = Batcher(machine, 8, 0)
        first = tasks(batcher, 0)
        await machine.has_begun()
        rest = tasks(batcher, 1, 2)

        async def broken() -> int:
            raise KeyError("unreadable")

        with pytest.raises(KeyError, match="unreadable"):
            await batcher.submit(broken())
        machine.let.release(3)
        bad, good = await asyncio.gather(*rest, return_exceptions=True)
        assert isinstance(bad, ValueError)
        assert str(bad) == "1 is odd"
        assert good.result == 4
        await asyncio.gather(*first)
        await batcher.close()

    play(scene())


def test_a_function_that_raises_fails_its_batch_and_the_next_one_runs() -> None:
    def run(jobs: Sequence[int]) -> list[int]:
        if 1 in jobs:
            raise RuntimeError("out of order")
        return list(jobs)

    async def scene() -> None:
        batcher: Batcher[int, int] = Batcher(run, 8, 0)
        with pytest.raises(RuntimeError, match="out of order"):
            await batcher.submit(now(1))
        assert (await batcher.submit(now(2))).result == 2
        await batcher.close()

    play(scene())


def test_one_that_leaves_is_not_run_and_a_batch_that_all_left_is_ended() -> None:
    class Watching(Machine):
        def __init__(self) -> None:
            super().__init__()
            self.interrupts: list[Any] = []

        def __call__(self, jobs: Sequence[int]) -> list[int | Exception]:
            self.interrupts.append(running._run_options.get())
            return super().__call__(jobs)

    async def scene() -> None:
        machine = Watching()
        batcher: Batcher[int, int] = Batcher(machine, 2, 0)
        first = tasks(batcher, 2, 4)
        await machine.has_begun()
        waiting = tasks(batcher, 6, 8)
        await asyncio.sleep(0)
        waiting[0].cancel()
        first[0].cancel()
        await asyncio.sleep(0)
        assert not machine.interrupts[0].terminate  # someone still waits for that batch
        first[1].cancel()
        await asyncio.sleep(0)
        assert machine.interrupts[0].terminate
        machine.let.release(2)
        assert (await waiting[1]).result == 16
        assert machine.batches == [[2, 4], [8]]
        await batcher.close()

    play(scene())
