"""The count of bytes that all protocols share: what it refuses, who waits, and that it ends at nothing."""

from __future__ import annotations

import asyncio
import random

import pytest
from loops import in_loop

pytest.importorskip("kserve")

from secam_onnx.serve.admission import Admission, Held, check_values, values_of_json
from secam_onnx.serve.request_errors import BusyError, SlowError, TooLargeError
from secam_onnx.serve.settings import Limits

LIMITS = Limits(max_body_bytes=40, max_pending_bytes=100, client_timeout_s=5)


def test_what_is_taken_is_counted() -> None:
    admission = Admission(LIMITS)
    one, two = Held(admission), Held(admission)
    one.take(60)
    two.take(40)
    with pytest.raises(BusyError):
        two.take(1)
    one.keep(10)
    two.take(50)
    assert (admission.held, one.bytes, two.bytes) == (100, 10, 90)
    one.release()
    two.release()
    two.release()
    assert admission.held == 0


def test_there_is_room_before_a_message_is_read() -> None:
    async def read() -> list[int]:
        admission = Admission(LIMITS)
        most = []

        async def one() -> None:
            held = Held(admission)
            async with admission.message(held):
                await asyncio.sleep(0.001)
                most.append(admission.held)
            held.keep(random.Random(0).randint(1, 40))
            await asyncio.sleep(0.001)
            held.release()

        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(one())
        assert admission.held == 0
        return most

    assert max(in_loop(read())) <= 100


def test_who_sends_nothing_makes_room_for_others() -> None:
    async def read() -> None:
        admission = Admission(LIMITS)

        async def silent() -> None:
            held = Held(admission)
            try:
                async with admission.message(held):
                    await asyncio.Future()
            finally:
                held.release()

        asked = asyncio.get_running_loop().time()
        slow = [asyncio.create_task(silent()) for _ in range(2)]
        await asyncio.sleep(0)
        held = Held(admission)
        async with admission.message(held):
            pass
        assert asyncio.get_running_loop().time() - asked < 4  # not the five seconds of a client
        (first, _) = await asyncio.gather(*slow, return_exceptions=True)
        assert isinstance(first, SlowError)
        held.release()
        assert admission.held == 0

    in_loop(read())


def test_who_leaves_while_waiting_takes_nothing() -> None:
    async def read() -> None:
        admission = Admission(LIMITS)
        full = Held(admission)
        full.take(100)

        async def wait() -> None:
            async with admission.message(Held(admission)):
                raise AssertionError

        tasks = [asyncio.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        tasks[1].cancel()
        full.keep(10)  # room for the second at the moment that it leaves
        tasks[2].cancel()
        assert all(
            isinstance(found, asyncio.CancelledError) for found in await asyncio.gather(*tasks, return_exceptions=True)
        )
        full.release()
        assert admission.held == 0

    in_loop(read())


def test_values_of_json_take_room() -> None:
    limits = Limits(max_pending_bytes=10_000)
    admission = Admission(limits)
    text = b"[1,2,3]"
    check_values(values_of_json(text, len(text)), held := Held(admission), limits)
    assert held.bytes == 3 * 64
    with pytest.raises(TooLargeError, match=r"200 values that are not binary.* has room for 153"):
        check_values(200, held, limits)
    Held(admission).take(9_500)
    with pytest.raises(BusyError):
        check_values(10, held, limits)
