"""Decoder processes: the same pictures as here; what takes too long, too much or crashes costs that image alone."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import loaders
import numpy as np
import pytest
from PIL import Image

from secam_onnx.decoding import Reading, read_seen
from secam_onnx.decoding.decoder_limits import Cancellation, DecoderLimits
from secam_onnx.decoding.decoder_pool import DecoderPool
from secam_onnx.decoding.ended import EndedError
from secam_onnx.errors import DecoderError, ImageError
from secam_onnx.photograph.images import EncodedImage
from secam_onnx.photograph.preprocessing import Preprocessing

pytestmark = pytest.mark.slow

PATIENCE_S = 30.0
GREY = Preprocessing((20, 24), mean=(0.0,), std=(255.0,))
COLOUR = Preprocessing((20, 24), 32)
BANDS = Preprocessing((20, 24), mean=(0.0,) * 5, std=(255.0,) * 5, display_channels=(3, 2, 1))
HOW = Reading(COLOUR, 1_000_000, keep_image=False)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    if kind == "NPY":
        np.save(buffer, pixels)
    else:
        Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)
GOOD = EncodedImage("good", encoded(PICTURE))


@pytest.fixture
def make() -> Iterator[Callable[..., DecoderPool]]:
    """Pools that are closed in the end, and leave no process."""
    pools: list[DecoderPool] = []

    def make(size: int = 2, seconds: float = 1000.0, memory: int = 400 << 20, **more: Any) -> DecoderPool:
        limits = DecoderLimits(seconds, memory)
        pools.append(DecoderPool(size, limits, **{"loader": loaders.LOADER, **more}))
        return pools[-1]

    yield make
    for pool in pools:
        running = [process.pid for process in pool._all]
        pool.close()
        eventually(lambda: not any(is_running(pid) for pid in running))  # noqa: B023


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def decode(pool: DecoderPool, data: bytes, name: str = "x", cancellation: Cancellation | None = None) -> Any:
    return pool.decode(EncodedImage(name, data), HOW, cancellation)


def check_good(pool: DecoderPool) -> None:
    np.testing.assert_array_equal(decode(pool, GOOD.data).seen, read_seen(GOOD, HOW).seen)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("preprocessing", "data"),
    [
        (COLOUR, encoded(PICTURE, "JPEG")),
        (COLOUR, encoded(RANDOM.integers(0, 65536, (40, 50)).astype(np.uint16))),
        (GREY, encoded(PICTURE)),
        (BANDS, encoded(RANDOM.integers(0, 65536, (40, 50, 5)).astype(np.uint16), "NPY")),
        (dataclasses.replace(COLOUR, value_range=(0.0, 4000.0)), encoded(RANDOM.random((40, 50, 3)), "NPY")),
    ],
)
def test_the_same_as_in_this_process(make, keep: bool, preprocessing: Preprocessing, data: bytes) -> None:
    image, how = EncodedImage("x", data), Reading(preprocessing, keep_image=keep)
    here, there = read_seen(image, how), make().decode(image, how)
    for entry in dataclasses.fields(here):
        mine, other = getattr(here, entry.name), getattr(there, entry.name)
        assert type(mine) is type(other)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other)
        else:
            assert mine == other


def test_the_same_refusals(make) -> None:
    pool = make()
    for data in (b"", b"no image", GOOD.data[:60], encoded(np.zeros((2, 40, 3), np.uint8))):
        with pytest.raises(ImageError) as here:
            read_seen(EncodedImage("x\udc80", data), HOW)
        with pytest.raises(ImageError) as there:
            decode(pool, data, "x\udc80")
        assert str(here.value) == str(there.value)
    with pytest.raises(ImageError, match="over the limit of 100"):
        pool.decode(GOOD, dataclasses.replace(HOW, max_pixels=100))
    check_good(pool)


def test_arrays_need_no_process(make) -> None:
    events: list[str] = []
    pool = make(on_event=lambda kind, reason: events.append(kind))
    assert pool.decode(PICTURE, HOW).seen.shape == (20, 24, 3)
    assert not events


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (loaders.FOREVER, "time", "takes more than the 0.5 s"),
        (loaders.ASLEEP, "time", "takes more than the 0.5 s"),
        pytest.param(
            loaders.HUNGRY, "memory", "takes more than the 400 MB", marks=pytest.mark.skipif("sys.platform != 'linux'")
        ),
        (loaders.CRASH, "crash", "crashes the decoder"),
        (loaders.KILLED, "memory", "where memory runs out"),
    ],
)
def test_an_image_that_takes_too_much_is_refused_alone(make, data: bytes, reason: str, message: str) -> None:
    events: list[str] = []
    pool = make(seconds=0.5 if reason == "time" else 1000.0, on_event=lambda kind, text: events.append(kind))
    with ThreadPoolExecutor(6) as threads:
        bad = [threads.submit(decode, pool, data, "bad.jpg") for _ in range(3)]
        good = [threads.submit(check_good, pool) for _ in range(6)]
        for future in bad:
            with pytest.raises(EndedError, match=message) as raised:
                future.result(PATIENCE_S)
            assert raised.value.reason == reason
            assert "bad.jpg" in str(raised.value)
        for future in good:
            future.result(PATIENCE_S)
    assert events.count(reason) == 3
    check_good(pool)
    assert pool.working


def test_a_bug_is_no_image_error(make) -> None:
    pool = make()
    with pytest.raises(RuntimeError, match="LookupError: a bug"):
        decode(pool, loaders.BUG)
    check_good(pool)


def test_nothing_that_a_decoder_says_is_trusted(make) -> None:
    pool = make()
    with pytest.raises(EndedError, match="crashes the decoder"):
        decode(pool, GOOD.data, "nonsense")
    check_good(pool)


def test_given_up(make) -> None:
    pool = make(size=1)
    with ThreadPoolExecutor(2) as threads:
        ends = [Cancellation(), Cancellation()]
        given = [threads.submit(decode, pool, loaders.ASLEEP, cancellation=end) for end in ends]
        eventually(lambda: pool._busy and pool._waiting)
        for end in reversed(ends):
            end.cancel()
        for future in given:
            with pytest.raises(EndedError, match="given up") as raised:
                future.result(PATIENCE_S)
            assert raised.value.reason == "cancelled"
    with pytest.raises(EndedError, match="given up"):
        decode(pool, GOOD.data, cancellation=ends[0])
    check_good(pool)


def test_a_process_that_was_killed_or_stopped(make) -> None:
    """It costs no image, as it did not take any."""
    pool = make()
    for number in (signal.SIGKILL, signal.SIGSTOP):
        check_good(pool)
        eventually(lambda: len(pool._idle) == 2)
        before = list(pool._idle)
        for process in before:
            os.kill(process.pid, number)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda _: check_good(pool), range(2)))
        check_good(pool)
        assert not {process.pid for process in before} <= {process.pid for process in pool._idle}


def test_someone_who_ends_every_process(make) -> None:
    pool = make(size=1)
    pool._taken, taken = killed(pool), pool._taken
    with pytest.raises(DecoderError, match="Look for who does that"):
        check_good(pool)
    pool._taken = taken
    check_good(pool)


def killed(pool: DecoderPool) -> Callable[..., Any]:
    """Slots whose process ends when it is taken."""
    taken = pool._taken

    def take(*given: Any) -> Any:
        process = taken(*given)
        os.kill(process.pid, signal.SIGKILL)
        return process

    return take


def test_it_works_again_as_soon_as_processes_can_be_started(make, tmp_path: Path, monkeypatch) -> None:
    pool = make(loader="appears_later:load")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DecoderError, match="No process can be started"):
        pool.start()
    with pytest.raises(DecoderError, match="No process can be started"):
        check_good(pool)
    assert not pool.working
    (tmp_path / "appears_later.py").write_text("from loaders import load")
    eventually(lambda: pool.working)
    check_good(pool)


def test_what_a_decoder_keeps_is_bounded(make) -> None:
    pool = make(size=1, memory=2 << 30, loader="secam_onnx.decoding.seen:read_seen")
    large = encoded(np.zeros((4000, 5000, 4), np.uint8))
    for _ in range(3):
        pool.decode(large, Reading(COLOUR, 20_000_000, keep_image=False))
        (process,) = [process for process in pool._all if not process.retired] or [None]
        if process is not None:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            assert int(status.split("VmRSS:")[1].split()[0]) < 400_000
    check_good(pool)


def test_closing_ends_what_runs(make) -> None:
    pool = make()
    with ThreadPoolExecutor(3) as threads:
        given = [threads.submit(decode, pool, loaders.ASLEEP) for _ in range(3)]
        eventually(lambda: len(pool._busy) == 2 and pool._waiting)
        pool.close()
        for future in given:
            with pytest.raises((EndedError, DecoderError)):
                future.result(PATIENCE_S)
    assert not pool.working
    with pytest.raises(DecoderError, match="closed"):
        check_good(pool)


PROGRAM = """
import sys, threading
from secam_onnx.decoding import Reading
from secam_onnx.decoding.decoder_limits import DecoderLimits
from secam_onnx.decoding.decoder_pool import DecoderPool
from secam_onnx.photograph.images import EncodedImage
from secam_onnx.photograph.preprocessing import Preprocessing
print("main")
pool = DecoderPool(2, DecoderLimits(1000.0, 1 << 30), loader="loaders:load")
pool.start()
busy = lambda: pool.decode(EncodedImage("x", b"forever"), Reading(Preprocessing((20, 24))))
threading.Thread(target=busy, daemon=True).start()
while not (pool._busy and pool._idle):
    pass
print(*(process.pid for process in pool._all), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["returns", "SIGTERM", "SIGKILL"])
def test_processes_end_with_their_parent(how: str, tmp_path: Path) -> None:
    """Without a main guard, and without importing the program again."""
    (tmp_path / "program.py").write_text(PROGRAM)
    support = str(Path(loaders.__file__).parent)
    with subprocess.Popen(
        [sys.executable, tmp_path / "program.py"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([support, *sys.path])},
    ) as program:  # fmt: skip
        assert program.stdin
        assert program.stdout
        assert program.stdout.readline() == "main\n"
        pids = [int(word) for word in program.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        if how == "returns":
            program.stdin.close()
        else:
            program.send_signal(getattr(signal, how))
        program.wait(PATIENCE_S)
        assert program.stdout.read() == ""
    eventually(lambda: not any(map(is_running, pids)))


def test_a_child_ignores_what_the_whole_group_is_sent(make) -> None:
    pool = make(size=1)
    check_good(pool)
    (process,) = pool._idle
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid, number)
    check_good(pool)
    assert pool._idle == [process]


@pytest.mark.skipif("sys.platform != 'linux'")
def test_limits_of_the_system(make) -> None:
    pool = make(size=1)
    check_good(pool)
    (process,) = pool._idle
    limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii")
    for name, most in (("core file size", 0), ("file size", 0), ("open files", 64)):
        assert re.search(rf"^Max {name} +{most} +{most} ", limits, re.MULTILINE), limits
    space = int(re.search(r"^Max address space +(\d+)", limits, re.MULTILINE)[1])
    assert 400 << 20 <= space < 1 << 30
    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text(encoding="ascii") == "500\n"
    assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) == 4  # standard streams, and the socket
    modules = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")
    assert "onnxruntime" not in modules


def test_many_threads_and_many_ends(make) -> None:
    pool = make()
    outcomes: list[str] = []

    def one(number: int) -> None:
        if number % 4 == 0:
            with pytest.raises(EndedError):
                decode(pool, loaders.CRASH)
        elif number % 4 == 1:
            end = Cancellation()
            threading.Timer(0.01, end.cancel).start()
            with contextlib.suppress(EndedError):
                decode(pool, GOOD.data, cancellation=end)
        else:
            check_good(pool)
        outcomes.append("done")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(40)))
    assert len(outcomes) == 40
    assert not pool._busy
    assert not pool._waiting
