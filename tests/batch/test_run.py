"""One pass over many images: each once, bad ones told apart, and nothing lost when it is stopped."""

from __future__ import annotations

import errno
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secam_onnx import Explainer, Explanation
from secam_onnx.batch.run import Totals, run
from secam_onnx.batch.sources import Item, Sources
from secam_onnx.errors import ModelError, OutputError, SecamError

MakePhotos = Callable[..., list[Path]]
MakeShard = Callable[..., Path]


def full_disk() -> OutputError:
    error = OutputError("the disk is full")
    error.errno = errno.ENOSPC
    return error


class Memory:
    """A sink that keeps everything in the order in which it came."""

    needs_images, locked = False, True

    def __init__(self, finished: tuple[str, ...] = ()) -> None:
        self.known = finished
        self.results: dict[str, Explanation] = {}
        self.errors: dict[str, SecamError] = {}
        self.closed = self.flushed = 0

    @property
    def written(self) -> int:
        return len(self.results)

    def finished(self, key: str, folder: str) -> bool:
        return Path(key).name in self.known

    def failed(self, key: str) -> bool:
        return False

    def encode(self, item: Item, explanation: Explanation) -> Explanation:
        return explanation

    def add(self, item: Item, encoded: Explanation) -> None:
        assert item.key not in self.results
        self.results[item.key] = encoded

    def fail(self, item: Item, error: SecamError) -> None:
        assert item.key not in self.errors
        self.errors[item.key] = error

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        assert self.flushed
        self.closed += 1


def test_each_image_once_and_its_own_result(tiny: Explainer, photos: MakePhotos, shard: MakeShard) -> None:
    paths = photos(12)
    (paths[0].parent / "0003.jpg").write_bytes(b"no picture")
    names = [str(paths[0]), str(paths[0].parent), str(shard(5, first=20)), "gone.tar"]
    sink, seen = Memory(finished=("0005.jpg", "0021.jpg")), []
    totals = run(
        tiny, Sources(names), sink, ["all"], batch_size=4, on_result=lambda item, result: seen.append(item.key)
    )
    assert totals == Totals(explained=14, failed=2, finished_earlier=2, repeated=1)
    assert (totals.done, totals.passed_over) == (16, 3)
    assert {Path(key).name for key in sink.errors} == {"0003.jpg", "gone.tar"}
    assert sorted(seen) == sorted([*sink.results, *sink.errors])
    for path in paths[6:]:
        np.testing.assert_allclose(
            sink.results[str(path)].segment_scores, tiny.explain(path, "all").segment_scores, rtol=1e-4
        )
    member = next(key for key in sink.results if key.endswith("shard.tar/0020.jpg"))
    assert sink.results[member].image.size == 0
    assert sink.closed == 1


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_order_and_the_results_are_those_of_the_list(
    batch_size: int, workers: int, tiny: Explainer, photos: MakePhotos
) -> None:
    photos(20)
    sink = Memory()
    run(tiny, Sources([str(photos(20)[0].parent)]), sink, batch_size=batch_size, workers=workers)
    assert [Path(key).name for key in sink.results] == [f"{number:04d}.jpg" for number in range(20)]
    for key, result in sink.results.items():
        np.testing.assert_allclose(result.segment_scores, tiny.explain(key).segment_scores, rtol=1e-4, atol=1e-6)


def test_a_model_that_fails_on_everything_ends_it(
    tiny: Explainer, photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(photos(30)[0].parent)
    opened: Any = tiny.classifier
    forward, calls = opened.forward, []

    def fails(inputs: np.ndarray) -> Any:
        calls.append(len(inputs))
        if len(calls) < 3:
            return forward(inputs)
        raise ModelError("NaN")

    monkeypatch.setattr(tiny.classifier, "forward", fails)
    sink = Memory()
    assert run(tiny, Sources([folder]), sink, batch_size=4) == Totals(explained=8, failed=22)
    assert {type(error) for error in sink.errors.values()} == {ModelError}
    hopeless = Memory()
    with pytest.raises(ModelError, match="NaN"):
        run(tiny, Sources([folder]), hopeless, batch_size=4)
    assert hopeless.errors == {}, "these are not the images' fault"


def test_a_model_that_fails_on_the_first_images_only(
    tiny: Explainer, photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = photos(9)
    opened: Any = tiny.classifier
    forward, calls = opened.forward, []

    def fails(inputs: np.ndarray) -> Any:
        calls.append(len(inputs))
        if len(calls) <= 3:
            raise ModelError("NaN")
        return forward(inputs)

    monkeypatch.setattr(tiny.classifier, "forward", fails)
    sink = Memory()
    assert run(tiny, Sources([str(paths[0].parent)]), sink, batch_size=1) == Totals(explained=6, failed=3)
    assert list(sink.errors) == [str(path) for path in paths[:3]]
    calls.clear()
    sink = Memory()
    assert run(tiny, Sources([str(path) for path in paths[:2]]), sink, batch_size=1) == Totals(failed=2)
    assert len(sink.errors) == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143), full_disk()], ids=repr)
@pytest.mark.parametrize("where", ["add", "encode", "finished"])
def test_whatever_ends_it_the_sink_is_closed(
    where: str, stop: BaseException, tiny: Explainer, photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, calls = Memory(), 0
    original = getattr(sink, where)

    def stops(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise stop
        return original(*arguments)

    monkeypatch.setattr(sink, where, stops)
    with pytest.raises(type(stop)):
        run(tiny, Sources([str(photos(40)[0].parent)]), sink, batch_size=2)
    assert sink.closed == 1
    assert len(sink.results) < 20


def test_what_was_written_is_counted_though_it_was_stopped(
    tiny: Explainer, photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several threads write ahead of the one that is stopped."""
    sink, totals, written = Memory(), Totals(), []
    monkeypatch.setattr(sink, "encode", lambda item, _: written.append(item.key))
    monkeypatch.setattr(type(sink), "written", property(lambda _: len(written)))
    calls = iter(range(40))

    def stops(*_: Any) -> None:
        if next(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(sink, "add", stops)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, Sources([str(photos(40)[0].parent)]), sink, batch_size=2, workers=4, totals=totals)
    assert 6 <= totals.explained == len(written)


def test_a_map_that_misses_the_logit_is_warned_of(
    tiny: Explainer, photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.classifier, "tolerance", -1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(RuntimeWarning, match="differs from the logit"):
            run(tiny, Sources([str(photos(1)[0])]), Memory())


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.ESTALE, errno.ENOTDIR, None])
def test_a_result_that_cannot_be_written_is_an_error_of_its_image(
    number: int | None, tiny: Explainer, photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, sink = photos(9), Memory()

    def refuses(item: Item, explanation: Explanation) -> Explanation:
        if item.key == str(paths[4]):
            error = OutputError("not there")
            error.errno = number
            raise error
        return explanation

    monkeypatch.setattr(sink, "encode", refuses)
    assert run(tiny, Sources([str(paths[0].parent)]), sink, batch_size=2) == Totals(explained=8, failed=1)
    assert list(sink.errors) == [str(paths[4])]


def test_too_many_open_files_are_no_images_fault(
    tiny: Explainer, photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sink = photos(9)[0].parent, Memory()

    def full(*_: object, **__: object) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    sources = Sources([str(folder)])
    monkeypatch.setattr("os.scandir", full)
    with pytest.raises(SecamError, match="ulimit -n"):
        run(tiny, sources, sink)
    assert not sink.errors


def test_what_is_finished_is_kept_before_anything_waits_for_a_thread(
    tiny: Explainer, photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program may be ended while it waits."""
    sink, begun, go_on, rows_then = Memory(), threading.Event(), threading.Event(), []

    def slow(item: Item, explanation: Explanation) -> Explanation:
        if item.key.endswith("0005.jpg"):
            begun.set()
            go_on.wait(30)
        return explanation

    def add(item: Item, encoded: Explanation) -> None:
        if item.key.endswith("0003.jpg"):
            begun.wait(30)
            raise KeyboardInterrupt

    def flush() -> None:
        rows_then.append(go_on.is_set())
        sink.flushed += 1
        go_on.set()

    monkeypatch.setattr(sink, "encode", slow)
    monkeypatch.setattr(sink, "add", add)
    monkeypatch.setattr(sink, "flush", flush)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, Sources([str(photos(9)[0].parent)]), sink, batch_size=1, workers=4)
    assert rows_then == [False]
