"""Closed explainers: no threads are left, later calls say what happened; those never closed hold nobody up."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_models
from forking import in_process
from tails import network, saved

from secam_onnx import Explainer, Explanation, Heads
from secam_onnx.errors import OptionError

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(tiny_models.classifier(), path)
    return path


def superpixel_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("secam-superpixels")}


def test_the_end_of_a_with_block_ends_the_threads(model: Path) -> None:
    before = superpixel_threads()  # of other tests, which may end meanwhile
    with Explainer(model) as explainer:
        result = explainer.explain(PICTURE)
        own = superpixel_threads() - before
        assert own
    assert not any(thread.is_alive() for thread in own)
    assert result.overlay().size == (50, 40)
    explainer.close()


def test_a_with_block_closes_after_an_error_too(model: Path) -> None:
    with pytest.raises(ZeroDivisionError), Explainer(model) as explainer:
        raise ZeroDivisionError
    assert repr(explainer) == "<Explainer of model.onnx: closed>"


@pytest.mark.parametrize(
    "call",
    [
        lambda explainer: explainer.explain(PICTURE),
        lambda explainer: explainer.explain_batch([PICTURE]),
        lambda explainer: explainer.explain_stream([PICTURE]),
        lambda explainer: explainer.check_classes(0),
        lambda explainer: explainer.labels,
        lambda explainer: explainer.settings,
        pickle.dumps,
        copy.deepcopy,
    ],
)
def test_a_closed_explainer_says_so(call: Callable[[Explainer], object], model: Path) -> None:
    explainer = Explainer(model)
    explainer.close()
    with pytest.raises(OptionError, match=r"The explainer of .*model\.onnx is closed; make a new Explainer\."):
        call(explainer)


def test_a_stream_ends_when_its_explainer_is_closed(model: Path) -> None:
    explainer = Explainer(model)
    stream = explainer.explain_stream([PICTURE] * 50, batch_size=1)
    assert isinstance(next(stream), Explanation)
    explainer.close()
    with pytest.raises(OptionError, match="is closed"):
        list(stream)


def test_heads_close_all_their_explainers(tmp_path: Path) -> None:
    text = "age = Gemm <transB = 1> (net_q, w_1x6, b_1) gender = Softmax (z)"
    with Heads(saved(network(text, "age; gender", classes=2), tmp_path), providers="cpu") as heads:
        heads.explain(PICTURE)
    with pytest.raises(OptionError, match="is closed"):
        heads.explain(PICTURE)
    for explainer in heads.explainers.values():
        assert "closed" in repr(explainer)


def test_an_explainer_that_is_closed_just_before_its_threads_get_work(model: Path, monkeypatch) -> None:
    explainer = Explainer(model)
    pool = explainer.pipeline.per_process_model.pool
    submit = pool.submit

    def late(*work: object) -> object:
        explainer.close()
        return submit(*work)

    monkeypatch.setattr(pool, "submit", late)
    with pytest.raises(OptionError, match="is closed"):
        explainer.explain(PICTURE)


def closed_and_asked(explainer: Explainer) -> list[float]:
    """Close an explainer that another process opened, and one of its own."""
    own = copy.deepcopy(explainer)
    explainer.close()
    with pytest.raises(OptionError, match="is closed"):
        explainer.explain(PICTURE)
    with own:
        return own.explain(PICTURE, "all").segment_contributions.ravel().tolist()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_closing_in_another_process_leaves_this_one_alone(method: str, model: Path) -> None:
    explainer = Explainer(model)
    expected = explainer.explain(PICTURE, "all").segment_contributions.ravel()
    np.testing.assert_allclose(in_process(method, closed_and_asked, explainer), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(explainer.explain(PICTURE, "all").segment_contributions.ravel(), expected)


PROGRAM = """
import numpy as np
from secam_onnx import Explainer
explainers = [Explainer({model!r}, threads=2) for _ in range(3)]
for explainer in explainers[1:]:
    explainer.explain(np.zeros((40, 40, 3), np.uint8))
stream = explainer.explain_stream([np.zeros((40, 40, 3), np.uint8)] * 9)
next(stream)
print("ended")
"""


def test_explainers_that_are_never_closed_hold_no_program_up(model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(model=str(model))],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
