"""What is timed inside one process, in turns: a forward pass, SeCAM, its superpixels, all classes, LIME."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from lime.lime_image import LimeImageExplainer

from secam_onnx import Explainer, Segmenter
from secam_onnx.images import read_image
from secam_onnx.superpixels import segment

__all__ = ["LIME_BATCH", "PHOTO", "ROOT", "Times", "time_model"]

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "docs" / "chelsea.png"
STAT = Path("/proc/stat")
WARM_UP = 3  # rounds that are not counted
PAUSE = 0.15  # seconds between candidates: threads of ONNX Runtime spin for up to 0.1 s after a run
AT_ONCE = "explain again"  # the candidate that follows without a pause, as in a loop over photographs
LIME_BATCH = 32  # images a forward pass

Times = dict[str, list[float]]
"""Candidate -> one duration a repeat: milliseconds in a process, seconds of whole processes."""


@contextlib.contextmanager
def other_processes(cores: list[float]) -> Iterator[None]:
    """Append how many cores were busy with other processes meanwhile; nothing where there is no /proc/stat."""

    def spent() -> float:
        user, nice, system, _, _, irq, soft, *_ = map(int, STAT.read_text(encoding="ascii").split()[1:9])
        return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK") - time.process_time()

    if not STAT.exists():
        yield
        return
    start, busy = time.perf_counter(), spent()
    yield
    cores.append((spent() - busy) / (time.perf_counter() - start))


def round_robin(candidates: dict[str, Callable[[], object]], repeats: int, rare: dict[str, int]) -> tuple[Times, Times]:
    """Time the candidates in turns.

    Parameters
    ----------
    candidates : dict
        What to call.
    repeats : int
        Rounds that count.
    rare : dict of str to int
        Candidates that take part in the first rounds only, with the number of rounds; they are warmed up elsewhere.

    Returns
    -------
    times : dict
        Milliseconds of each call.
    others : dict
        Cores that other processes kept busy during each call and the pause before it.
    """
    times: Times = {name: [] for name in candidates}
    others: Times = {name: [] for name in candidates}
    for round_ in range(-WARM_UP, repeats):
        for name, call in candidates.items():
            if name in rare and not 0 <= round_ < rare[name]:
                continue
            with other_processes(others[name] if round_ >= 0 else []):
                if name != AT_ONCE:
                    time.sleep(PAUSE)
                start = time.perf_counter()
                call()
                duration = time.perf_counter() - start
            if round_ >= 0:
                times[name].append(duration * 1e3)
    return times, others


def lime_explanation(
    session: onnxruntime.InferenceSession, explainer: Explainer, seen: np.ndarray, segments: np.ndarray, samples: int
) -> object:
    """LIME for the top class of what the model sees, on given superpixels."""
    output, entry = session.get_outputs()[0].name, session.get_inputs()[0].name

    def classify(images: np.ndarray) -> np.ndarray:
        inputs = np.concatenate([explainer.preprocessing.normalise(image) for image in images])
        (logits,) = session.run([output], {entry: inputs})
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        return LimeImageExplainer(random_state=0).explain_instance(
            seen,
            classify,
            top_labels=1,
            num_samples=samples,
            batch_size=LIME_BATCH,
            segmentation_fn=lambda _: segments,
        )


def time_model(path: Path, repeats: int, lime_samples: int, lime_repeats: int) -> dict[str, Times]:
    """Time everything that runs inside one process, for one model.

    Returns
    -------
    dict
        `ms` and `others_cores` of `round_robin`; `steps_ms`, the steps of `Explainer.explain` as it reports them.
    """
    image = read_image(PHOTO)
    explainer = Explainer(path, providers="cpu")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    output, entry = session.get_outputs()[0].name, session.get_inputs()[0].name
    seen, _ = explainer.preprocessing.crop(image)
    inputs = explainer.preprocessing.normalise(seen)
    segments = segment(seen, Segmenter())
    explanations = []
    candidates: dict[str, Callable[[], object]] = {
        "forward": lambda: session.run([output], {entry: inputs}),
        "explain": lambda: explanations.append(explainer.explain(image)),
        AT_ONCE: lambda: explainer.explain(image),
        "superpixels": lambda: segment(seen, Segmenter()),
        "all classes": lambda: explainer.explain(image, "all"),
        "LIME": functools.partial(lime_explanation, session, explainer, seen, segments, lime_samples),
    }
    if lime_repeats:
        lime_explanation(session, explainer, seen, segments, LIME_BATCH)
    times, others = round_robin(candidates, repeats, {"LIME": lime_repeats})
    counted = explanations[WARM_UP:]
    steps = {step: [entry.timings[step] for entry in counted] for step in counted[0].timings}
    return {"ms": times, "steps_ms": steps, "others_cores": others}
