"""The project's targets: what was measured, what was wanted, met or missed."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from secam_onnx.bench.report import medians, running_ms

__all__ = ["Goal", "targets"]

MB = 1e6
MEETS = {"<=": operator.le, ">=": operator.ge}
AT_MOST = {"default": 2.5, "resnet50": 1.25, "inception_v3": 1.25, "vgg16": 1.10}
"""explain / forward."""
COMMANDS = {"import secam_onnx": 200, "secam-onnx --help": 400, "secam-onnx explain": 2500}
"""Milliseconds of fresh processes."""


class Goal(NamedTuple):
    """One line of the table of targets."""

    what: str
    measured: float | None
    sign: str
    limit: float

    @property
    def verdict(self) -> str:
        """Met, missed or not measured."""
        if self.measured is None:
            return "not measured"
        return "met" if MEETS[self.sign](self.measured, self.limit) else "missed"

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'at most' if self.sign == '<=' else 'at least'} {self.limit:g}"


def targets(results: Mapping[str, Any]) -> list[Goal]:
    """Every target that these results can tell of."""
    commands = medians(results.get("processes_ms", {}))
    return [
        *(goal for name, model in results["models"].items() for goal in _of_model(name, model)),
        *(Goal(f"{name}, ms", commands[name], "<=", limit) for name, limit in COMMANDS.items() if name in commands),
    ]


def _of_model(name: str, model: Mapping[str, Any]) -> Iterator[Goal]:
    middle = medians(model["ms"])

    def ratio(above: str, below: str) -> float | None:
        return middle[above] / middle[below] if above in middle and below in middle else None

    gpu = "CPU" not in (model.get("providers") or ["CPU"])[0]
    limit = 1.2 if gpu and name == "resnet50" else AT_MOST.get(name)
    if limit is not None:
        yield Goal(f"explain / forward, {name}{', GPU' if gpu else ''}", ratio("explain", "forward"), "<=", limit)
    if name == "default":
        yield Goal("LIME / explain, default", ratio("LIME", "explain"), ">=", 500)
        yield Goal("superpixels, default, ms", middle.get("superpixels"), "<=", 4)
        yield Goal("skimage slic / superpixels, default", ratio("skimage slic", "superpixels"), ">=", 6)
    if name == "resnet50":
        yield Goal("GradCAM / explain, resnet50", ratio("pytorch-grad-cam, GradCAM", "explain"), ">=", 3)
        found = running_ms(model.get("folder", {}))
        folder = found["folder"] / found["forward"] if found else None
        yield Goal("folder / forward, resnet50, JPEG decode included", folder, "<=", 1.25)
    yield Goal(f"all classes / one, {name}", ratio("all classes", "explain"), "<=", 1.05)
    yield from _memory(name, model)


def _memory(name: str, model: Mapping[str, Any]) -> Iterator[Goal]:
    peaks = model["peak_bytes"]
    forward = peaks.get("forward")
    explain = None if forward is None else (peaks["explain"] - forward) / MB
    yield Goal(f"peak memory, explain - forward, {name}, MB", explain, "<=", 150)
    folder = model.get("folder", {})
    if "peak_bytes" in folder:
        peaks, images = folder["peak_bytes"], folder["images"]
        more = (peaks[str(images)] - peaks["forward"]) / MB
        yield Goal(f"peak memory, folder of {images} - forward, {name}, MB", more, "<=", 150)
