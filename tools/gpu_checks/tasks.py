"""One check in this process: `python -m gpu_checks.tasks CHECK OPTIONS`, JSON in and, as the last line, JSON out."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data

from secam_onnx import Explainer, SecamError, runtime
from secam_onnx.bench.plain_model import PlainModel

__all__ = ["CHECKS"]

_CLASSES = "top-5"


def photographs(number: int) -> list[np.ndarray]:
    """Some that scikit-image carries, and parts and mirrors of them: `(H, W, 3)` uint8."""
    whole = [skimage.data.chelsea(), skimage.data.coffee(), skimage.data.astronaut(), skimage.data.cat()[::-1]]
    parts = [image[: image.shape[0] * 2 // 3, : image.shape[1] * 2 // 3] for image in whole]
    known = [*whole, *parts, *(image[:, ::-1] for image in whole), *(image[:, ::-1] for image in parts)]
    return [np.ascontiguousarray(known[index % len(known)]) for index in range(number)]


def providers(provider: str) -> dict[str, Any]:
    """What ONNX Runtime offers, and what the default model starts on."""
    ort = runtime.load()
    start = time.perf_counter()
    explainer = Explainer(providers=provider)
    opened = time.perf_counter() - start
    start = time.perf_counter()
    explainer.explain(skimage.data.chelsea())
    return {
        "onnxruntime": ort.__version__,
        "available": ort.get_available_providers(),
        "started": list(explainer.providers),
        "open_s": round(opened, 3),
        "first_explanation_s": round(time.perf_counter() - start, 3),
    }


def drift(network: str, file: str, provider: str, float16: bool = False) -> dict[str, Any]:
    """The largest difference between two explanations of a photograph, here and on the CPU in float32."""
    cpu = Explainer(file, providers="cpu")
    with tempfile.TemporaryDirectory() as folder:
        other = Explainer(_halved(file, Path(folder)) if float16 else file, **_as(cpu, float16), providers=provider)
        rows = []
        for image in photographs(3 if other.classifier.attribution == "masking" else 8):
            # The same classes of both, so that their numbers can be compared.
            wanted = cpu.explain(image, _CLASSES)
            found = other.explain(image, [entry.index for entry in wanted.classes])
            scale = float(np.abs(wanted.segment_contributions).max())
            logits = np.array([[entry.logit for entry in result.classes] for result in (wanted, found)])
            kept = [
                result.selection.keep(result.segment_scores[0], result.segment_contributions[0])
                for result in (wanted, found)
            ]
            rows.append(
                {
                    "same_top_class": wanted.predictions[0].index == found.predictions[0].index,
                    "same_top_5": {e.index for e in wanted.predictions} == {e.index for e in found.predictions},
                    "same_segments": bool((wanted.segments == found.segments).all()),
                    "same_kept": bool(np.array_equal(*kept)),
                    "logits": float(np.abs(logits[0] - logits[1]).max() / np.abs(logits[0]).max()),
                    "contributions": float(
                        np.abs(wanted.segment_contributions - found.segment_contributions).max() / scale
                    ),
                    "completeness_cpu": float(wanted.completeness_error),
                    "completeness": float(found.completeness_error),
                }
            )
    worst = {name: max(row[name] for row in rows) for name in rows[0] if isinstance(rows[0][name], float)}
    agree = {name: sum(row[name] for row in rows) for name in rows[0] if isinstance(rows[0][name], bool)}
    return {
        "attribution": cpu.classifier.attribution,
        "photographs": len(rows),
        "providers": list(other.providers),
        "agree": agree,
        "largest": worst,
    }


def _as(cpu: Explainer, float16: bool) -> dict[str, Any]:
    """What a file that was converted no longer says of itself."""
    return {"preprocessing": cpu.preprocessing, "labels": cpu.labels} if float16 else {}


def _halved(file: str, folder: Path) -> Path:
    """The network in float16, as ONNX Runtime's own converter makes it; inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    from secam_onnx.head import unexpose

    model = onnx.load(file)
    unexpose(model)
    del model.metadata_props[:]
    onnx.save(convert_float_to_float16(model, keep_io_types=True), folder / "float16.onnx")
    return folder / "float16.onnx"


def timing(network: str, file: str, provider: str, batches: list[int], rounds: int) -> dict[str, Any]:
    """Milliseconds a photograph of the plain forward pass and of the explanation, in turns, by batch size."""
    explainer = Explainer(file, providers=provider)
    plain = PlainModel(Path(file), explainer.providers)
    results = {}
    for size in batches:
        images = photographs(size)
        inputs = plain.inputs([explainer.preprocessing.crop(image)[0] for image in images], explainer.preprocessing)
        calls = {
            "forward": lambda inputs=inputs: plain.forward(inputs),
            "explain": lambda images=images, size=size: list(explainer.explain_stream(images, batch_size=size)),
        }
        # Two batches in a stream overlap; one alone does not.
        calls["stream of 4 batches"] = lambda images=images, size=size: list(
            explainer.explain_stream(images * 4, batch_size=size)
        )
        ms: dict[str, list[float]] = {name: [] for name in calls}
        steps: dict[str, list[float]] = {}
        for round_ in range(-2, rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                answer = call()
                taken = (time.perf_counter() - start) * 1e3 / size / (4 if name.startswith("stream") else 1)
                if round_ >= 0:
                    ms[name].append(taken)
                if round_ >= 0 and name == "explain":
                    for step, value in answer[0].timings.items():
                        steps.setdefault(step, []).append(value)
        medians = {name: statistics.median(values) for name, values in ms.items()}
        results[str(size)] = {
            "ms": {name: [round(value, 4) for value in values] for name, values in ms.items()},
            "median_ms": {name: round(value, 4) for name, value in medians.items()},
            "explain/forward": round(medians["explain"] / medians["forward"], 3),
            "stream/forward": round(medians["stream of 4 batches"] / medians["forward"], 3),
            "images_a_second": round(1e3 / medians["stream of 4 batches"], 1),
            "steps_ms": {step: round(statistics.median(values), 4) for step, values in steps.items()},
        }
    return {"providers": list(explainer.providers), "batches": results}


def copies(network: str, file: str, provider: str) -> dict[str, Any]:
    """What is copied between card and host, and how many nodes run on which provider, in one explanation."""
    ort = runtime.load()
    options = ort.SessionOptions
    with tempfile.TemporaryDirectory() as folder:

        def profiled() -> Any:
            made = options()
            made.enable_profiling, made.profile_file_prefix = True, str(Path(folder) / "session")
            return made

        opened: list[Any] = []
        session = ort.InferenceSession

        def noted(*arguments: Any, **settings: Any) -> Any:
            opened.append(session(*arguments, **settings))
            return opened[-1]

        ort.SessionOptions, ort.InferenceSession = profiled, noted
        try:
            explainer = Explainer(file, providers=provider)
            explainer.explain(skimage.data.chelsea())
        finally:
            ort.SessionOptions, ort.InferenceSession = options, session
        profiles = [json.loads(Path(entry.end_profiling()).read_text(encoding="utf-8")) for entry in opened]
    return {"sessions": [_summary(profile) for profile in profiles if any(_is_kernel(event) for event in profile)]}


def _is_kernel(event: dict[str, Any]) -> bool:
    return event.get("cat") == "Node" and event["name"].endswith("_kernel_time")


def _summary(profile: list[dict[str, Any]]) -> dict[str, Any]:
    kernels = [event for event in profile if _is_kernel(event)]
    copied = [event for event in kernels if event["args"]["op_name"].startswith("Memcpy")]
    return {
        "nodes": dict(Counter(event["args"].get("provider", "?") for event in kernels)),
        "copies": dict(Counter(event["args"]["op_name"] for event in copied)),
        "copied_tensors": [event["name"].removesuffix("_kernel_time") for event in copied][:40],
        "on_host": dict(
            Counter(event["args"]["op_name"] for event in kernels if event["args"].get("provider") == runtime.CPU)
        ),
    }


def fallback(provider: str) -> dict[str, Any]:
    """With the card hidden: what `auto` runs on, and what is said where CUDA was asked for by name."""
    chosen = Explainer(providers="auto")
    found: dict[str, Any] = {"auto": list(chosen.providers), "top": str(chosen.explain(skimage.data.chelsea()))}
    try:
        Explainer(providers="cuda")
    except SecamError as error:
        return {**found, "cuda": f"{type(error).__name__}: {error}"}
    raise AssertionError("CUDA started although there is no card to be seen")


CHECKS = {"providers": providers, "drift": drift, "time": timing, "copies": copies, "fallback": fallback}
"""By name."""

if __name__ == "__main__":
    print(json.dumps(CHECKS[sys.argv[1]](**json.loads(sys.argv[2]))))
