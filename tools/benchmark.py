"""Time SeCAM beside a plain forward pass and LIME, in one run on one machine, and print Markdown tables.

    pip install "secam-onnx[cpu,export]" lime
    python tools/benchmark.py --json benchmarks/main_job.json > benchmarks/README.md

The candidates take turns in every repeat, so that a slow drift of the machine meets all of them. A second busy process
does not disturb them alike (a network on all cores suffers more than SLIC on one), so what others took is printed too:
believe no ratio where that is not close to 0. The torchvision networks have random weights (seed 0): those change what
is explained, not how long it takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from benchmarking.candidates import LIME_BATCH, time_model
from benchmarking.processes import model_file, peak_memory, time_processes
from benchmarking.report import report, targets

MODELS = ("default", "resnet50", "inception_v3", "vgg16")
PACKAGES = ("secam-onnx", "onnxruntime", "onnx", "numpy", "scikit-image", "pillow", "lime", "scikit-learn")


def processor() -> str:
    """Name of the CPU."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def names(_: click.Context, option: click.Parameter, value: str) -> list[str]:
    """Read a list of models, separated by commas."""
    chosen = [name for name in value.split(",") if name]
    if unknown := [name for name in chosen if name not in MODELS]:
        raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(MODELS)}.", param=option)
    return chosen


@click.command(context_settings={"show_default": True})
@click.option("--models", default=",".join(MODELS), callback=names, help="Which models, separated by commas.")
@click.option("--repeats", default=20, type=click.IntRange(1), help="Rounds inside one process.")
@click.option("--process-repeats", default=10, type=click.IntRange(1), help="Rounds of whole processes.")
@click.option("--lime-models", default=",".join(MODELS), callback=names, help="Where LIME takes part; may be empty.")
@click.option("--lime-samples", default=1000, type=click.IntRange(2), help="Perturbed images LIME asks about.")
@click.option("--lime-repeats", default=1, type=click.IntRange(1), help="Rounds in which LIME takes part.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder for exported models.  [default: temporary]")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write every single duration here.")
def main(
    models: list[str],
    repeats: int,
    process_repeats: int,
    lime_models: list[str],
    lime_samples: int,
    lime_repeats: int,
    cache: Path | None,
    json_file: Path | None,
) -> None:
    """Time SeCAM beside a plain forward pass and LIME."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "processor": processor(),
            "cpus": os.cpu_count(),
            "platform": platform.platform(),
            "load": load,
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "settings": {
            "repeats": repeats,
            "process_repeats": process_repeats,
            "lime_samples": lime_samples,
            "lime_repeats": lime_repeats,
            "lime_batch": LIME_BATCH,
        },
        "models": {},
    }
    with contextlib.ExitStack() as stack:
        if cache is None:
            cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cache.mkdir(parents=True, exist_ok=True)
        files = {name: model_file(name, cache) for name in models}
        click.echo("processes", err=True)
        results["processes_s"] = time_processes(process_repeats)
        for name, path in files.items():
            click.echo(name, err=True)
            times = time_model(path, repeats, lime_samples, lime_repeats if name in lime_models else 0)
            results["models"][name] = {**times, "peak_bytes": peak_memory(path)}
    results["targets"] = targets(results)
    click.echo(report(results))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
