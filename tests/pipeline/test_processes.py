"""Explainers in other processes: forked, spawned, pickled, copied; what cannot go on there says so and never hangs."""

from __future__ import annotations

import copy
import functools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from forking import in_process
from tiny_models import classifier

from secam_onnx import Explainer, Explanation, Segmenter, Selection
from secam_onnx.errors import ForkError, ModelError, SecamError
from secam_onnx.export.explainable_file import fuse
from secam_onnx.superpixels import SEGMENTERS

pytestmark = pytest.mark.slow

FORKS = "fork" in multiprocessing.get_all_start_methods()
needs_fork = pytest.mark.skipif(not FORKS, reason="this system does not fork")
METHODS = multiprocessing.get_all_start_methods()
LABELS = ("cat", "dog", "owl", "hen", "cow", "pig", "fox")


def write(folder: Path, *, seed: int = 0, external: bool = False, head: str = "gap+fc") -> Path:
    path = folder / "model.onnx"
    model = classifier(head, seed=seed)
    onnx.save(model, path, save_as_external_data=external, location="weights.bin", size_threshold=0)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def numbers(result: Explanation) -> list[float]:
    return [*(entry.logit for entry in result.predictions), *result.segment_contributions.ravel().tolist()]


def same(found: Any, expected: Explanation) -> None:
    np.testing.assert_allclose(found, numbers(expected), rtol=1e-5, atol=1e-6)


def explain(explainer: Explainer, picture: np.ndarray) -> list[float]:
    return numbers(explainer.explain(picture, "all"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["plain", "mlp", "masking", "fused"])
def test_an_explainer_works_in_another_process(method: str, kind: str, tmp_path: Path, picture: np.ndarray) -> None:
    path = write(tmp_path, head="mlp" if kind == "mlp" else "gap+fc")
    if kind == "fused":
        fuse(path, tmp_path / "fused.onnx")
        path = tmp_path / "fused.onnx"
    explainer = Explainer(path, attribution="masking" if kind == "masking" else None)
    expected = explainer.explain(picture, "all")
    same(in_process(method, explain, explainer, picture), expected)
    same(explain(explainer, picture), expected)


@needs_fork
@pytest.mark.parametrize("segmenter", SEGMENTERS)
def test_every_segmenter_works_in_a_forked_child(segmenter: str, model: Path, picture: np.ndarray) -> None:
    explainer = Explainer(model, segmenter=Segmenter(segmenter, 9))
    same(in_process("fork", explain, explainer, picture), explainer.explain(picture, "all"))


def batch_and_stream(explainer: Explainer, picture: np.ndarray) -> list[list[float]]:
    batch = explainer.explain_batch([picture, picture[::-1]], "all")
    stream = [entry for entry in explainer.explain_stream([picture, picture[::-1]], "all") if explainer.labels]
    return [numbers(entry) for entry in [*batch, *stream] if isinstance(entry, Explanation)]


@needs_fork
def test_batches_and_new_streams_work_in_a_forked_child(model: Path, picture: np.ndarray) -> None:
    explainer = Explainer(model, labels=LABELS)
    expected = batch_and_stream(explainer, picture)
    assert len(expected) == 4
    np.testing.assert_allclose(in_process("fork", batch_and_stream, explainer, picture), expected, rtol=1e-5, atol=1e-6)


def forked_again(explainer: Explainer, picture: np.ndarray) -> list[float]:
    explain(explainer, picture)
    return in_process("fork", explain, explainer, picture)


@needs_fork
def test_a_child_of_a_forked_child(model: Path, picture: np.ndarray) -> None:
    explainer = Explainer(model)
    same(in_process("fork", forked_again, explainer, picture), explainer.explain(picture, "all"))


def in_threads(explainer: Explainer, picture: np.ndarray) -> tuple[list[list[float]], int]:
    found, opened = [], []
    threads = [threading.Thread(target=lambda: found.append(explain(explainer, picture))) for _ in range(4)]
    threads += [threading.Thread(target=lambda: opened.append(id(explainer.classifier))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, len(set(opened))


@needs_fork
def test_threads_of_a_child_open_the_model_once(model: Path, picture: np.ndarray) -> None:
    explainer = Explainer(model)
    found, opened = in_process("fork", in_threads, explainer, picture)
    assert (len(found), opened) == (4, 1)
    for entry in found:
        same(entry, explainer.explain(picture, "all"))


@needs_fork
def test_children_are_forked_while_other_threads_explain(model: Path, picture: np.ndarray) -> None:
    explainer = Explainer(model)
    expected, stop = explainer.explain(picture, "all"), threading.Event()

    def busy() -> None:
        while not stop.is_set():
            for _ in explainer.explain_stream([picture] * 8):
                pass

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            same(in_process("fork", explain, explainer, picture), expected)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@needs_fork
def test_a_pool_of_processes(model: Path, picture: np.ndarray) -> None:
    explainer = Explainer(model)
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        found = list(pool.map(functools.partial(explain, explainer), [picture] * 3, timeout=60))
    for entry in found:
        same(entry, explainer.explain(picture, "all"))


def next_of(stream: Any) -> Any:
    return next(stream)


def closed(stream: Any) -> str:
    stream.close()
    return "closed"


@needs_fork
@pytest.mark.parametrize("taken", [1, 3])
def test_a_stream_that_was_begun_before_the_fork_is_refused_at_once(
    taken: int, model: Path, picture: np.ndarray
) -> None:
    explainer = Explainer(model)
    stream = explainer.explain_stream([picture] * 20)
    for _ in range(taken):
        next(stream)
    with pytest.raises(ForkError, match="The stream began before this process was forked"):
        in_process("fork", next_of, stream)
    assert in_process("fork", closed, stream) == "closed"
    assert len([entry for entry in stream if isinstance(entry, Explanation)]) == 20 - taken


def answers(model: Any) -> Any:
    return model.run(np.zeros((1, 3, 32, 32), np.float32), [["top-1"]])


@needs_fork
def test_an_opened_model_without_explainer_is_refused_at_once(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ForkError, match="threads stayed in the parent"):
        in_process("fork", answers, Explainer(model).classifier)


PROGRAM = """
import os, sys, gc
import numpy as np
from secam_onnx import Explainer
explainer = Explainer({model!r}, threads=2)
explainer.explain(np.zeros((40, 40, 3), np.uint8))
stream = explainer.explain_stream([np.zeros((40, 40, 3), np.uint8)] * 9)
next(stream)
child = os.fork()
if not child:
    {work}
    sys.exit(7)  # and not os._exit: everything is taken apart
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7
print("ended")
"""


@needs_fork
@pytest.mark.parametrize(
    "work",
    [
        "pass",
        "del explainer, stream; gc.collect()",
        "explainer.explain(np.ones((40, 40, 3))); del explainer",
    ],
)
def test_a_child_ends_as_any_process(work: str, model: Path) -> None:
    code = PROGRAM.format(model=str(model), work=work)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert output == "ended\n", errors


@needs_fork
def test_workers_of_a_data_loader(model: Path, picture: np.ndarray) -> None:
    data = pytest.importorskip("torch.utils.data")
    explainer = Explainer(model)
    loader = data.DataLoader(
        Pictures(explainer, picture), batch_size=1, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    expected = numbers(explainer.explain(picture, "all"))
    assert [row for batch in loader for row in batch.tolist()] == [pytest.approx(expected, rel=1e-4, abs=1e-5)] * 4


class Pictures:
    """A data set whose items are explained where they are read."""

    def __init__(self, explainer: Explainer, picture: np.ndarray) -> None:
        self.explainer, self.picture = explainer, picture

    def __len__(self) -> int:
        return 4

    def __getitem__(self, _: int) -> np.ndarray:
        return np.array(numbers(self.explainer.explain(self.picture, "all")))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_open_the_model_again_with_all_options(
    again: Callable[[Explainer], Explainer], model: Path, picture: np.ndarray
) -> None:
    options: dict[str, Any] = {
        "segmenter": Segmenter("grid", 12),
        "selection": Selection(top_segments=2),
        "preprocessing": "keras-tf",
        "labels": LABELS,
        "features": "feature_map",
        "logits": "logits",
        "attribution": "masking",
        "threads": 1,
        "providers": "cpu",
    }
    explainer = Explainer(model, **options)
    copied = again(explainer)
    assert copied.classifier is not explainer.classifier
    assert copied.settings == explainer.settings
    assert (copied.labels, copied.model, copied.segmenter) == (LABELS, model, options["segmenter"])
    same(explain(copied, picture), explainer.explain(picture, "all"))
    assert len(pickle.dumps(explainer)) < 3000  # no weights


def test_the_default_model_is_found_where_it_is_read_back(explainer: Explainer) -> None:
    assert str(explainer.model).encode() not in pickle.dumps(Explainer(threads=1))


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("when", ["before it is pickled", "after"])
def test_a_file_that_changed_is_refused(external: bool, when: str, tmp_path: Path) -> None:
    path = write(tmp_path, external=external)
    explainer = Explainer(path)
    stored = pickle.dumps(explainer)
    kept = path.read_bytes()
    write(tmp_path, seed=1, external=external)
    if external:
        path.write_bytes(kept)  # a graph like the one before, whose weights are others
    with pytest.raises(ModelError, match=r"(weights\.bin|model\.onnx) has changed since the explainer opened it"):
        pickle.loads(stored) if when == "after" else pickle.dumps(explainer)


def test_a_file_that_is_gone_or_another_config_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path)
    stored = pickle.dumps(Explainer(path))
    names = ", ".join(f'"{index}": "{name}"' for index, name in enumerate(LABELS))
    (tmp_path / "config.json").write_text(f'{{"id2label": {{{names}}}}}')
    with pytest.raises(ModelError, match="was opened again, and its labels differ from before"):
        pickle.loads(stored)
    path.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read \(No such file"):
        pickle.loads(stored)


@needs_fork
def test_a_file_that_changed_is_refused_in_a_forked_child(model: Path, picture: np.ndarray) -> None:
    explainer = Explainer(model)
    write(model.parent, seed=1)
    with pytest.raises(ModelError, match="has changed since the explainer opened it"):
        in_process("fork", explain, explainer, picture)
    explainer.explain(picture)  # nothing is read again here


@needs_fork
def test_cuda_is_not_used_in_a_forked_child(model: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = Explainer(model)
    monkeypatch.setattr(type(explainer.classifier), "providers", ("CUDAExecutionProvider", "CPUExecutionProvider"))
    with pytest.raises(ForkError, match="CUDA does not work in both"):
        in_process("fork", explain, explainer, picture)


def test_another_folder_and_a_relative_path(model: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    explainer = Explainer("model.onnx")
    expected = explainer.explain(picture, "all")
    monkeypatch.chdir("/")
    same(explain(copy.deepcopy(explainer), picture), expected)
    if FORKS:
        same(in_process("fork", explain, explainer, picture), expected)


def test_explanations_are_pickled(model: Path, picture: np.ndarray) -> None:
    result = Explainer(model, labels=LABELS).explain(picture, "top-2")
    again = pickle.loads(pickle.dumps(result))
    assert again.to_dict() == result.to_dict()
    np.testing.assert_array_equal(again.mask(result.classes[1].label), result.mask(result.classes[1].index))
    for name in ("image", "cam", "segments", "segment_scores", "segment_contributions", "bias"):
        assert not getattr(again, name).flags.writeable
    assert copy.deepcopy(result).to_dict() == result.to_dict()


def subclasses(kind: type[SecamError]) -> list[type[SecamError]]:
    import secam_onnx.decoding.ended  # noqa: F401 (its error is one of them)

    return [kind, *(below for each in kind.__subclasses__() for below in subclasses(each))]


@pytest.mark.parametrize("kind", subclasses(SecamError))
def test_errors_come_back_from_other_processes(kind: type[SecamError]) -> None:
    again = pickle.loads(pickle.dumps(kind("what went wrong")))
    assert (type(again), str(again)) == (kind, "what went wrong")
