"""The project's benchmark: peers as processes, targets, chart, and the pages that follow from its results."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import onnx
import pytest
from benchmarking.chart import chart
from benchmarking.networks import plain_file
from benchmarking.peers import PEERS, REQUIREMENTS, WORKER, Environments, waiting
from benchmarking.report import written
from benchmarking.targets import targets

from secam_onnx.bench import DropoutError
from secam_onnx.default_model import default_model

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "speed.json"


def model(**ms: float) -> dict[str, Any]:
    times = {name.replace("_", " "): [value] for name, value in ms.items()}
    return {"ms": times, "peak_bytes": {"forward": 0, "explain": 100 * 10**6}, "providers": ["CPUExecutionProvider"]}


def test_targets_are_met_missed_or_not_measured() -> None:
    network = model(forward=10, explain=26, all_classes=27, superpixels=3, skimage_slic=30, LIME=12_900)
    commands = {"python -c pass": [9], "secam-onnx --help": [390, 500, 600]}
    goals = {goal.what: goal for goal in targets({"models": {"default": network}, "processes_ms": commands})}
    assert {what: goal.verdict for what, goal in goals.items()} == {
        "explain / forward, default": "missed",
        "LIME / explain, default": "missed",
        "superpixels, default, ms": "met",
        "skimage slic / superpixels, default": "met",
        "all classes / one, default": "met",
        "peak memory, explain - forward, default, MB": "met",
        "secam-onnx --help, ms": "missed",
    }
    assert goals["LIME / explain, default"].measured == pytest.approx(12_900 / 26)
    assert goals["LIME / explain, default"].wanted == "at least 500"


def test_targets_of_resnet50() -> None:
    network = model(forward=40, explain=50, all_classes=50, **{"pytorch-grad-cam, GradCAM": 150})
    times = {"forward": [40], "folder": [50], "start": [1000]}
    network["folder"] = {
        "images": 1000,
        "batch_size": 8,
        "ms": times,
        "peak_bytes": {"forward": 0, "8": 0, "1000": 151 * 10**6},
    }
    goals = {goal.what: goal.verdict for goal in targets({"models": {"resnet50": network}})}
    assert goals["explain / forward, resnet50"] == "met"
    assert goals["GradCAM / explain, resnet50"] == "met"
    assert goals["folder / forward, resnet50, JPEG decode included"] == "met"
    assert goals["peak memory, folder of 1000 - forward, resnet50, MB"] == "missed"
    network["folder"] = {"skipped": "why"}
    goals = {goal.what: goal.verdict for goal in targets({"models": {"resnet50": network}})}
    assert goals["folder / forward, resnet50, JPEG decode included"] == "not measured"
    network["providers"] = ["CUDAExecutionProvider"]
    (first, *_) = targets({"models": {"resnet50": network}})
    assert (first.what, first.limit, first.verdict) == ("explain / forward, resnet50, GPU", 1.2, "missed")


def test_a_chart_of_bars_on_a_logarithmic_axis() -> None:
    bars = {"A & B": {"forward": 1.0, "ours": 10.0, "all": None, "LIME": 1000.0}, "C": {"forward": 100.0}}
    svg = chart("Milliseconds", bars)
    assert svg == chart("Milliseconds", bars)
    root = ElementTree.fromstring(svg)
    space = {"svg": "http://www.w3.org/2000/svg"}
    widths = [float(bar.get("width", "")) for bar in root.findall("svg:rect", space)[1:]]
    unit = widths[1]
    assert widths == pytest.approx([0, unit, 3 * unit, 2 * unit], abs=0.2)
    words = [text.text for text in root.findall("svg:text", space)]
    assert words[0] == "Milliseconds"
    assert {"A & B", "C", "LIME", "1 s", "10 ms"} <= set(words)
    assert "all" not in words
    assert len({bar.get("fill") for bar in root.findall("svg:rect", space)}) == 4


def test_the_pages_are_those_of_the_results() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for path, content in written(results, ROOT).items():
        assert (ROOT / path).read_text(encoding="utf-8") == content, f"python tools/benchmark.py --report: {path}"


def test_a_worker_answers_once_a_line(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text(
        "import sys\nprint('{\"ready\": {}}', flush=True)\n"
        "for number, _ in enumerate(sys.stdin):\n"
        '    print(\'{"seconds": %d, "cpu_seconds": 0.5}\' % number, flush=True)\n'
        "    if number == 1: break\n"
    )
    with waiting([sys.executable, str(script)]) as (worker, _):
        assert worker().seconds == 0
        assert worker().seconds == 1
        assert worker._process.wait(10) == 0
        with pytest.raises(DropoutError, match="ended"):
            worker()


def test_a_peer_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"network": "default", "class": 0}')
    without = "import runpy, sys; sys.modules['dianna'] = None; del sys.argv[0]; "
    without += "runpy.run_path(sys.argv[0], {}, '__main__')"
    command = [sys.executable, "-c", without, str(WORKER), "RISE", str(tmp_path)]
    with pytest.raises(DropoutError, match="dianna"), waiting(command):
        pass


def test_environments_are_taken_as_they_are_or_said_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "dianna" / "bin"
    given.mkdir(parents=True)
    (given / "python").touch()
    environments = Environments(tmp_path)
    if sys.platform != "win32":
        assert environments.python("dianna") == given / "python"
    monkeypatch.setitem(REQUIREMENTS, "openvino", ("no such requirement !",))
    with pytest.raises(DropoutError, match="cannot be installed"):
        environments.python("openvino")
    assert not (tmp_path / "openvino").exists()


def test_every_peer_has_its_environment() -> None:
    assert {peer.environment for peer in PEERS.values()} == set(REQUIREMENTS)


def test_peers_get_the_network_alone(tmp_path: Path) -> None:
    model = onnx.load(plain_file(default_model(), tmp_path / "plain.onnx"))
    assert [output.name for output in model.graph.output] == ["logits"]
    assert not model.metadata_props
    onnx.checker.check_model(model)
