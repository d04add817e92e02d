"""The engines that run fused models, behind one face: arrays in, arrays and milliseconds out."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

__all__ = ["ENGINES", "NODE_MODULES", "Engine", "EngineError", "Result", "chromium", "timed"]

HERE = Path(__file__).parents[1] / "runtimes"
NODE_MODULES = HERE / "node_modules"

Arrays = dict[str, np.ndarray]


class EngineError(Exception):
    """What an engine said when it could not run a model."""


@dataclass(frozen=True)
class Result:
    """What came of one run.

    Attributes
    ----------
    outputs : dict of array
        By name.
    milliseconds : list of float
        Of the same run again, as often as was asked for.
    """

    outputs: Arrays
    milliseconds: list[float] = field(default_factory=list)


class Engine(ABC):
    """One of the engines."""

    @abstractmethod
    def missing(self) -> str | None:
        """What has to be installed first; None if it is there."""

    @abstractmethod
    def run(self, model: Path, feeds: Sequence[Arrays], repeats: int = 0) -> list[Result]:
        """Run a model on each of some feeds.

        Raises
        ------
        EngineError
            The engine cannot do it.
        """

    @abstractmethod
    def version(self) -> str:
        """Name and version of what runs."""


class OrtPython(Engine):
    """ONNX Runtime in Python, which the package itself runs on."""

    def missing(self) -> str | None:
        return None

    def run(self, model: Path, feeds: Sequence[Arrays], repeats: int = 0) -> list[Result]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # classes with a default are no constant, which is meant so
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(feed: Arrays) -> Arrays:
            return dict(zip(names, session.run(None, feed), strict=True))

        return [timed(partial(run, feed), repeats) for feed in feeds]

    def version(self) -> str:
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"


class OpenVino(Engine):
    """OpenVINO's CPU plugin in float32: with the precision of its own choice, bfloat16 on some, labels differ."""

    def missing(self) -> str | None:
        return None if importlib.util.find_spec("openvino") else "pip install openvino"

    def run(self, model: Path, feeds: Sequence[Arrays], repeats: int = 0) -> list[Result]:
        import openvino

        try:
            compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            names = [name for output in compiled.outputs for name in output.names]  # one may have several

            def run(feed: Arrays) -> Arrays:
                results = compiled(feed)
                return {name: results[name].copy() for name in names}  # the next run writes where these are

            return [timed(partial(run, feed), repeats) for feed in feeds]
        except RuntimeError as error:
            raise EngineError(str(error)) from error

    def version(self) -> str:
        import openvino

        return f"openvino {openvino.__version__.split('-')[0]}"


class _JavaScript(Engine):
    """A build of ONNX Runtime for JavaScript, in a process of its own that works off a job file."""

    script: str
    package: str

    def missing(self) -> str | None:
        if not shutil.which("node"):
            return "Node.js"
        return None if (NODE_MODULES / self.package).exists() else f"npm ci --ignore-scripts, in {HERE.name}"

    def run(self, model: Path, feeds: Sequence[Arrays], repeats: int = 0) -> list[Result]:
        with TemporaryDirectory() as name:
            folder = Path(name)
            job = {"repeats": repeats, "feeds": [_written(folder, index, feed) for index, feed in enumerate(feeds)]}
            (folder / "job.json").write_text(json.dumps(job))
            command = ["node", HERE / self.script, model.resolve(), folder]
            environment = {**os.environ, "CHROMIUM": chromium() or ""}
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
            if done.returncode:
                raise EngineError(done.stderr)
            answer = json.loads((folder / "answer.json").read_text())
            return [Result(dict(_read(folder, run["outputs"])), run["milliseconds"]) for run in answer["runs"]]

    def version(self) -> str:
        return f"{self.package} {json.loads((NODE_MODULES / self.package / 'package.json').read_text())['version']}"


class OrtNode(_JavaScript):
    """ONNX Runtime in Node.js."""

    script, package = "run.mjs", "onnxruntime-node"


class OrtWeb(_JavaScript):
    """ONNX Runtime as WebAssembly in a headless Chromium, with one thread."""

    script, package = "browse.mjs", "onnxruntime-web"

    def missing(self) -> str | None:
        return super().missing() or (None if chromium() else "Chromium (apt-get install chromium)")


def chromium() -> str | None:
    """The browser's program: what the variable CHROMIUM names, or one of the usual names."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def timed(run: Callable[[], Arrays], repeats: int) -> Result:
    """What a function answers, and how long it takes so many times again."""
    outputs = run()
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - start) * 1000)
    return Result(outputs, milliseconds)


def _written(folder: Path, index: int, feed: Arrays) -> list[dict[str, object]]:
    described: list[dict[str, object]] = []
    for name, value in feed.items():
        file = f"{index}-{name}.in"
        (folder / file).write_bytes(value.tobytes())
        described.append({"name": name, "type": value.dtype.name, "dims": value.shape, "file": file})
    return described


def _read(folder: Path, outputs: Iterable[Mapping]) -> Iterable[tuple[str, np.ndarray]]:
    for output in outputs:
        data = np.frombuffer((folder / output["file"]).read_bytes(), output["type"])
        yield output["name"], data.reshape(output["dims"])


ENGINES: dict[str, Engine] = {"python": OrtPython(), "node": OrtNode(), "web": OrtWeb(), "openvino": OpenVino()}
"""By the name of the folder in `examples/`."""
