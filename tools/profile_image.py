"""Where the time of one explanation goes: a timeline of its steps, and the operators of its three sessions.

    python tools/profile_image.py                        # the default model
    python tools/profile_image.py --model classifier.onnx

The timeline is taken from outside, by a clock around the functions that do the steps. The operators are those of ONNX
Runtime's own profiler, in a second series of explanations, which it makes slower. Prints Markdown
(benchmarks/profile.md).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import click
import numpy as np

from secam_onnx import Explainer, runtime
from secam_onnx.bench import record
from secam_onnx.bench.report import about, table
from secam_onnx.classifier.attribution import Attribution
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.decoding import seen
from secam_onnx.photograph.images import read_image
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.sample import sample_photograph
from secam_onnx.pipeline import finish, prepare
from secam_onnx.superpixels import segmenters

# What the second thread does begins with an asterisk.
STEPS = {
    "copy the photograph": (seen, "load_image"),
    "resize and crop": (Preprocessing, "crop"),
    "* superpixels": (prepare, "segment"),
    "normalise": (Preprocessing, "normalise"),
    "forward pass": (Classifier, "forward"),
    "contributions": (Attribution, "__call__"),
    "superpixels wanted, matrices": (finish, "pooling_matrices"),
}
SESSIONS = ("network", "contributions", "superpixels")
PAUSE = 0.15  # seconds, as in the benchmark
WARM_UP = 3

Marks = dict[str, list[tuple[float, float]]]
"""Step -> when it began and ended, milliseconds since the call, in each round."""


@contextlib.contextmanager
def clock(marks: Marks, start: list[float]) -> Iterator[None]:
    """Note when each step begins and ends."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            result = function(*args, **options)
            marks[name].append(((begin - start[0]) * 1e3, (time.perf_counter() - start[0]) * 1e3))
            return result

        return call

    with contextlib.ExitStack() as stack:
        for name, (owner, attribute) in STEPS.items():
            stack.enter_context(mock.patch.object(owner, attribute, timed(name, getattr(owner, attribute))))
        yield


def timeline(explainer: Explainer, image: np.ndarray, rounds: int) -> str:
    """A table of the steps, medians of the rounds."""
    marks: Marks = defaultdict(list)
    start, whole = [0.0], []
    with clock(marks, start):
        for _ in range(WARM_UP + rounds):
            time.sleep(PAUSE)
            start[0] = time.perf_counter()
            explainer.explain(image)
            whole.append((time.perf_counter() - start[0]) * 1e3)
    total = median(whole[WARM_UP:])
    rows = []
    for name, found in marks.items():
        begin, end = (median(values) for values in zip(*found[WARM_UP:], strict=True))
        rows.append((begin, [name, f"{begin:.2f}", f"{end:.2f}", f"{end - begin:.2f}", f"{(end - begin) / total:.0%}"]))
    ordered = [row for _, row in sorted(rows)]
    return table(["step", "from", "to", "ms", "share"], [*ordered, ["all", "0.00", f"{total:.2f}", f"{total:.2f}", ""]])


def operators(model: Path | None, image: np.ndarray, rounds: int, top: int) -> str:
    """A table for each session: its operators by ONNX Runtime's profiler, milliseconds an explanation."""
    sessions: list[Any] = []
    ort = runtime.load()
    with tempfile.TemporaryDirectory() as room:
        numbers = itertools.count()

        class Profiled(ort.SessionOptions):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.enable_profiling = True
                # Otherwise sessions of the same second would write into one file.
                self.profile_file_prefix = str(Path(room) / f"profile-{next(numbers)}")

        opened = ort.InferenceSession

        def remembered(*args: Any, **options: Any) -> Any:
            sessions.append(opened(*args, **options))
            return sessions[-1]

        segmenters._kmeans_session.cache_clear()
        with (
            mock.patch.object(ort, "SessionOptions", Profiled),
            mock.patch.object(ort, "InferenceSession", remembered),
        ):
            explainer = Explainer(model, providers="cpu")
            for _ in range(WARM_UP + rounds):
                time.sleep(PAUSE)
                explainer.explain(image)
        segmenters._kmeans_session.cache_clear()
        return "\n".join(_session(entry, rounds, top) for entry in sorted(sessions, key=_place))


def _place(session: Any) -> int:
    inputs = [entry.name for entry in session.get_inputs()]
    outputs = [entry.name for entry in session.get_outputs()]
    return 2 if outputs == ["segments"] else int("secam_class_ids" in inputs)


def _session(session: Any, rounds: int, top: int) -> str:
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    runs: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs[event["args"]["op_name"]].append(event["dur"] / 1e3)
    calls = WARM_UP + rounds
    means = {name: (sum(times) / calls, len(times) // calls) for name, times in runs.items()}
    total = sum(ms for ms, _ in means.values())
    highest = sorted(means.items(), key=lambda entry: -entry[1][0])[:top]
    rows: list[list[object]] = [[name, count, f"{ms:.3f}", f"{ms / total:.0%}"] for name, (ms, count) in highest]
    nodes = sum(count for _, count in means.values())
    others = nodes - sum(count for _, (_, count) in highest)
    if others:
        rest = total - sum(ms for _, (ms, _) in highest)
        rows.append(["others", others, f"{rest:.3f}", f"{rest / total:.0%}"])
    rows.append(["all", nodes, f"{total:.3f}", ""])
    title = SESSIONS[_place(session)]
    return f"### Session: {title}\n\n" + table(["operator", "nodes", "ms", "share"], rows)


@click.command(context_settings={"show_default": True})
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="An ONNX classifier.  [default: ours]")
@click.option("--rounds", default=40, type=click.IntRange(1), help="Explanations that count.")
@click.option("--top", default=8, type=click.IntRange(1), help="Operators of each session.")
def main(model: Path | None, rounds: int, top: int) -> None:
    """Print where the time of one explanation goes."""
    image = read_image(sample_photograph())
    explainer = Explainer(model, providers="cpu")
    click.echo(f"{about(record())}. {explainer.model.name}, medians of {rounds} explanations.\n")
    click.echo(f"### Timeline\n\n{timeline(explainer, image, rounds)}")
    click.echo(operators(model, image, rounds, top), nl=False)


if __name__ == "__main__":
    main()
