"""Time SeCAM beside the plain forward pass and beside what users would pick instead, in one run on one machine.

    pip install "secam-onnx[cpu,export,parquet]" lime
    python tools/benchmark.py --peers PEERS    # measures, writes benchmarks/, docs/benchmark.svg and README.md's table
    python tools/benchmark.py --report         # writes the pages again from benchmarks/speed.json

PEERS is a folder of virtual environments, one for each set of packages whose pins go together (`benchmarking/peers.py`
lists them); those that are missing are made. Every peer is a process that waits for its turn: one explanation of the
same photograph by the same network, between ours. What cannot be installed is skipped, and the page says why.

What `secam-onnx bench` measures is measured here by the same code, for four networks. The torchvision networks have
random weights (seed 0): those change what is explained, not how long it takes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import click
from benchmarking.networks import NETWORKS, PHOTO, ROOT, model_file
from benchmarking.options import names_among
from benchmarking.peers import Environments, Workers
from benchmarking.processes import time_processes
from benchmarking.report import written

from secam_onnx.bench import Settings, measure, record

RESULTS = ROOT / "benchmarks" / "speed.json"
DECIMALS = 4  # of what is written: nanoseconds say nothing


@click.command(context_settings={"show_default": True})
@click.option(
    "--models", default=",".join(NETWORKS), callback=names_among(NETWORKS), help="Which networks, separated by commas."
)
@click.option("--rounds", default=20, type=click.IntRange(1), help="Rounds in which all take turns.")
@click.option("--slow-rounds", default=1, type=click.IntRange(0), help="Those in which LIME and RISE take part.")
@click.option("--lime-samples", default=1000, type=click.IntRange(2), help="Perturbed images LIME asks about.")
@click.option("--folder-images", default=200, type=click.IntRange(0), help="Photographs in the folder; 0: none.")
@click.option("--folder-rounds", default=3, type=click.IntRange(1), help="Rounds of it.")
@click.option("--process-rounds", default=10, type=click.IntRange(1), help="Rounds of whole commands.")
@click.option("--provider", default="cpu", help="cpu or cuda.")
@click.option("--batch-size", type=click.IntRange(1), help="Images a call.  [default: 1; on a GPU 32]")
@click.option("--peers", type=click.Path(path_type=Path), help="Folder of their environments.  [default: no peers]")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder for exported networks.  [default: temporary]")
@click.option("--json", "json_file", default=RESULTS, type=click.Path(path_type=Path), help="Every single duration.")
@click.option("--report", "only_report", is_flag=True, help="Measure nothing: write the pages from --json.")
@click.option("--pages/--no-pages", default=True, help="Write the pages and the chart.")
def main(json_file: Path, only_report: bool, pages: bool, **options: Any) -> None:
    """Time SeCAM beside the plain forward pass and beside what users would pick instead."""
    if only_report:
        results = json.loads(json_file.read_text(encoding="utf-8"))
    else:
        results = rounded(measured(**options))
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if pages:
        for path, content in written(results, ROOT).items():
            (ROOT / path).write_text(content, encoding="utf-8")
            click.echo(f"wrote {path}", err=True)


def measured(
    models: list[str],
    rounds: int,
    slow_rounds: int,
    lime_samples: int,
    folder_images: int,
    folder_rounds: int,
    process_rounds: int,
    provider: str,
    batch_size: int | None,
    peers: Path | None,
    cache: Path | None,
) -> dict[str, Any]:
    """Measure everything."""
    settings = Settings(
        rounds=rounds,
        batch_size=batch_size,
        provider=provider,
        photograph=PHOTO,
        lime_samples=lime_samples,
        lime_rounds=slow_rounds,
        folder_images=folder_images,
        folder_rounds=folder_rounds,
    )
    results = {
        **record(["lime", "scikit-learn"]),
        "settings": {**dataclasses.asdict(settings), "photograph": PHOTO.relative_to(ROOT).as_posix()},
        "peers": {},
        "models": {},
    }
    with contextlib.ExitStack() as stack:
        if cache is None:
            cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cache.mkdir(parents=True, exist_ok=True)
        files = {name: model_file(name, cache) for name in models}
        click.echo("processes", err=True)
        results["processes_ms"] = time_processes(process_rounds)
        environments = Environments(peers) if peers else None
        for name, path in files.items():
            click.echo(name, err=True)
            if environments is None:
                results["models"][name] = measure(path, settings)
                continue
            with Workers(name, path, environments, slow_rounds) as workers:
                results["models"][name] = measure(path, settings, workers)
                results["peers"] |= workers.versions
    return results


def rounded(value: Any) -> Any:
    """The same with fewer decimals."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return round(value, DECIMALS) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
