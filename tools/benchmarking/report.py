"""What the benchmark writes from its JSON: its page, the table and the chart in the README."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarking.chart import chart
from benchmarking.networks import NETWORKS
from benchmarking.targets import targets

from secam_onnx.bench import report
from secam_onnx.bench.report import digits, medians, table

__all__ = ["comparison", "page", "written"]

CHART = Path("docs") / "benchmark.svg"
PAGE = Path("benchmarks") / "README.md"
README = Path("README.md")
BEGIN, END = "<!-- benchmark: begin -->\n", "<!-- benchmark: end -->\n"

TITLE = "One explanation on {} CPU cores, logarithmic; dashed: the forward pass alone"
COLUMNS = {
    "forward": "forward pass alone",
    "explain": "secam-onnx, one class",
    "all classes": "all 1000 classes",
    "pytorch-grad-cam, GradCAM": "GradCAM",
    "pytorch-grad-cam, HiResCAM": "HiResCAM",
    "torch-cam, CAM": "CAM",
    "openvino_xai, ReciproCAM": "ReciproCAM",
    "LIME": "LIME",
    "DIANNA, RISE": "RISE",
}
"""Candidate -> column of the README's table; the chart has the same."""
OPENVINO = "OpenVINO, forward pass"


def comparison(results: Mapping[str, Any]) -> str:
    """The README's table, and what has to be known of it."""
    rows = []
    for name, model in results["models"].items():
        middle = medians(model["ms"])
        rows.append([NETWORKS[name], *(digits(middle.get(candidate)) for candidate in COLUMNS)])
    parts = [table(["milliseconds", *COLUMNS.values()], rows)]
    if precision := results["peers"].get(OPENVINO, {}).get("precision"):
        plain = [digits(medians(model["ms"]).get(OPENVINO)) for model in results["models"].values()]
        parts.append(
            f"ReciproCAM runs on OpenVINO, which calculates in {precision} here by its own choice, the others in "
            f"float32; its forward pass alone takes {', '.join(plain)} ms.\n"
        )
    return "\n".join(parts)


def page(results: Mapping[str, Any], introduction: str) -> str:
    """`benchmarks/README.md`: the introduction that is kept, then all tables."""
    processes = [
        [f"`{name}`", digits(median(runs)), digits(min(runs))] for name, runs in results["processes_ms"].items()
    ]
    goals = [[goal.what, digits(goal.measured), goal.wanted, goal.verdict] for goal in targets(results)]
    peers = [[name, ", ".join(map(" ".join, found.items()))] for name, found in results["peers"].items()]
    parts = [
        introduction,
        table(["target", "measured", "wanted", "verdict"], goals),
        report(results),
        "Whole commands in fresh processes, milliseconds.\n",
        table(["command", "median", "fastest"], processes),
        "Where the other packages ran.\n",
        table(["method", "versions"], peers),
    ]
    return "\n".join(parts)


def written(results: Mapping[str, Any], root: Path) -> dict[Path, str]:
    """The files that follow from the results, and what is to be in them.

    Parameters
    ----------
    results : mapping
        What `tools/benchmark.py` measured.
    root : Path
        The repository, whose README and page keep what is not between the marks.
    """
    bars = {
        NETWORKS[name]: {label: medians(model["ms"]).get(candidate) for candidate, label in COLUMNS.items()}
        for name, model in results["models"].items()
    }
    readme = (root / README).read_text(encoding="utf-8")
    before = (root / PAGE).read_text(encoding="utf-8").split(BEGIN)[0]
    return {
        CHART: chart(TITLE.format(results["machine"]["cpus"]), bars),
        PAGE: page(results, f"{before}{BEGIN}"),
        README: re.sub(f"(?s)(?<={BEGIN}).*?(?={END})", lambda _: f"\n{comparison(results)}\n", readme),
    }
