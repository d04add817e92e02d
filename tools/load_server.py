"""Measure `secam-onnx serve`: latency, throughput, overload, and memory over ten minutes; benchmarks/serving.md.

    python tools/load_server.py                      # all of it, 12 minutes, on a quiet machine
    python tools/load_server.py --soak 0 --rounds 3  # two minutes
    python tools/load_server.py --only-soak          # ten minutes of good and bad requests

The server is a process of its own on 127.0.0.1, the client is this one; what is compared takes turns in one run.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from serving.faults import endless_body, killed_worker, slow_clients, terminated
from serving.process import server
from serving.scenes import CONNECTIONS, alone, many, overload, photographs
from serving.soak import soak

from secam_onnx import Explainer
from secam_onnx.default_model import default_model
from secam_onnx.photograph.images import EncodedImage

ROOT = Path(__file__).parent.parent
_TARGETS = {"latency": 1.5, "throughput": 0.85, "growth_mb": 50.0}


@click.command()
@click.option("--model", type=click.Path(path_type=Path), default=None, help="[default: EfficientNet-Lite0]")
@click.option("--rounds", default=10, show_default=True, help="Turns of latency and throughput.")
@click.option("--overload", "overloaded", default=30.0, show_default=True, help="Seconds with too many connections.")
@click.option("--soak", "soaked", default=600.0, show_default=True, help="Seconds of good and bad requests.")
@click.option("--faults/--no-faults", default=True, help="Also what faults cost.  [default: faults]")
@click.option("--only-soak", is_flag=True, help="Leave out all but the good and bad requests.")
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "benchmarks", show_default=True)
def main(
    model: Path | None, rounds: int, overloaded: float, soaked: float, faults: bool, only_soak: bool, output: Path
) -> None:
    """Measure the server and write serving.md and serving.json."""
    file = model or default_model()
    if only_soak:
        _only_soak(file, soaked)
        return
    explainer, files = Explainer(file), photographs(ROOT / "docs" / "chelsea.png")
    explainer.explain_batch([EncodedImage("the image", file) for file in files])
    found: dict[str, Any] = {"model": file.stem, "machine": platform.processor() or platform.machine()}
    found["versions"] = {name: version(name) for name in ("secam-onnx", "kserve", "onnxruntime", "uvicorn", "grpcio")}
    options = ("--model", f"model={file}")
    with server(*options) as served:
        found["started_s"] = served.started_s
        alone(served, explainer, files, 2)
        found["latency"] = alone(served, explainer, files, rounds)
        click.echo(f"latency {found['latency']}")
        found["throughput"] = many(served, explainer, files, rounds)
        click.echo(f"throughput {found['throughput']}")
    if overloaded:
        with server(*options, "--timeout", "5") as served:
            overload(served, files, CONNECTIONS, 3)
            found["overload"] = {"timeout_s": 5.0, **overload(served, files, 256, overloaded)}
        click.echo(f"overload {found['overload']}")
    if faults:
        found["faults"] = _faults(options, files)
        click.echo(f"faults {found['faults']}")
    if soaked:
        with server(*options) as served:
            found["soak"] = soak(served, files, soaked)
            # A server that failed has said so.
            found["soak"]["failures_logged"] = served.log.read_text().count("unexpected failure")
        click.echo(f"soak { {name: value for name, value in found['soak'].items() if name != 'memory_mb'} }")
    output.mkdir(parents=True, exist_ok=True)
    (output / "serving.json").write_text(json.dumps(found, indent=1) + "\n")
    (output / "serving.md").write_text(_report(found))


def _only_soak(file: Path, seconds: float) -> None:
    """Good and bad requests alone; what came of them is printed, and growth above the target is an error."""
    with server("--model", f"model={file}") as served:
        found = soak(served, photographs(ROOT / "docs" / "chelsea.png"), seconds)
        found["failures_logged"] = served.log.read_text().count("unexpected failure")
    click.echo(json.dumps(found))
    if found["growth_mb"] > _TARGETS["growth_mb"] or found["failures_logged"]:
        raise SystemExit(1)


def _faults(options: tuple[str, ...], files: list[bytes]) -> dict[str, Any]:
    with server(*options, "--client-timeout", "5") as served:
        found = {"body": endless_body(served), "slow": {"client_timeout_s": 5.0, **slow_clients(served, files)}}
        found["terminated"] = terminated(served, files)
    with server(*options, "--workers", "2") as served:
        found["killed"] = killed_worker(served, files)
    return found


def _report(found: dict[str, Any]) -> str:
    latency, throughput = found["latency"], found["throughput"]
    lines = [
        "# Serving",
        "",
        f"`secam-onnx serve` with {found['model']}, on two cores, measured by `python tools/load_server.py` over",
        "loopback from a second process; what is compared takes turns in one run. "
        + ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        + ".",
        "",
        "| | in this process | over HTTP | ratio | target |",
        "|---|---:|---:|---:|---:|",
        f"| one `:explain` of a JPEG, p50, ms | {latency['in_process_ms']:.1f} | {latency['http_ms']:.1f} | "
        f"{latency['ratio']:.2f} | at most {_TARGETS['latency']} |",
        f"| photographs a second, {CONNECTIONS} connections | {throughput['in_process_per_s']:.1f} | "
        f"{throughput['http_per_s']:.1f} | {throughput['ratio']:.2f} | at least {_TARGETS['throughput']} |",
        "",
        f"In process: `Explainer.explain`, and `Explainer.explain_stream`. With {CONNECTIONS} connections an answer "
        f"took {throughput['p50_ms']:.0f} ms (p50) to {throughput['p99_ms']:.0f} ms (p99).",
        f"From the command to readiness, which is after a first explanation: {found['started_s']:.1f} s.",
        "",
    ]
    if "overload" in found:
        entry = found["overload"]
        lines += [
            "## Too many",
            "",
            f"{entry['connections']} connections for {entry['seconds']:.0f} s, each of which asks again half a second "
            f"after it was refused; at most 64 photographs may wait, and {entry['timeout_s']:.0f} s each.",
            "",
            "| answered | p50 | p99 | refused (429) | too late (504) | no answer | others | memory before, after |",
            "|---:|---:|---:|---:|---:|---:|---:|---:|",
            f"| {entry['answered']:,} | {entry['answered_p50_s']:.2f} s | {entry['answered_p99_s']:.2f} s | "
            f"{entry['refused_429']:,} | {entry['too_late_504']:,} | {entry['without_answer']:,} | "
            f"{entry['other'] or 0} | {entry['memory_before_mb']:.0f} MB, {entry['memory_after_mb']:.0f} MB |",
            "",
            f"p99 of all answers, refusals included: {entry['all_p99_s']:.2f} s.",
            "",
        ]
    if "faults" in found:
        lines += _told(found["faults"])
    if "soak" in found:
        entry = found["soak"]
        answers = ", ".join(f"{number:,} x {status}" for status, number in entry["answers"].items())
        lines += [
            "## Ten minutes of good and bad requests" if entry["seconds"] == 600 else f"## {entry['seconds']:.0f} s",
            "",
            "Eight connections: photographs of many sizes, all 1000 classes, pictures, batches, other numbers of",
            "superpixels; cut and empty files, broken JSON, unknown classes and models, addresses in place of files,",
            "33 MB of nothing, strange hosts and pages; besides them clients that leave half way or stand still, and",
            "files that cost a decoder minutes or gigabytes, over HTTP and gRPC.",
            "",
            f"Answers by status (0: the connection was closed while it was still sending): {answers}.",
            "Answers to the costly files, and over gRPC to a good one after each: "
            + ", ".join(f"{number:,} x {status}" for status, number in entry["hostile"].items())
            + ".",
            f"p50 {1000 * entry['answered_p50_s']:.0f} ms, p99 {1000 * entry['answered_p99_s']:.0f} ms. "
            f"Failures in the server's log: {entry['failures_logged']}.",
            "",
            f"Memory of all processes: {entry['memory_first_mb']:.0f} MB before the first request; in the second "
            f"tenth of the time {entry['memory_early_mb']:.0f} MB on average, in the last "
            f"{entry['memory_late_mb']:.0f} MB: "
            f"{entry['growth_mb']:+.0f} MB (target: at most {_TARGETS['growth_mb']:+.0f}).",
            f"In between it swings from {entry['memory_lowest_mb']:.0f} to {entry['memory_highest_mb']:.0f} MB with "
            "what is asked for at a moment (all 1000 classes, large photographs).",
            "",
        ]
    return "\n".join(lines)


def _told(faults: dict[str, Any]) -> list[str]:
    body, slow, terminated, killed = (faults[name] for name in ("body", "slow", "terminated", "killed"))
    sent = " and ".join(f"{number} MB {kind}" for kind, number in body["sent_mb"].items())
    return [
        "## Faults",
        "",
        "`pytest tests/serve/test_limits.py tests/serve/test_faults.py` has these and more over real sockets; here is",
        "what they cost.",
        "",
        "| fault | what came of it |",
        "|---|---|",
        f"| a body of {body['megabytes']} MB | hung up after {sent}; memory {body['memory_mb']:+.1f} MB at most |",
        f"| {slow['clients']} clients that do not finish their headers | one explanation (p50) "
        f"{slow['beside_ms']:.1f} ms beside them, {slow['alone_ms']:.1f} ms alone; "
        f"each hung up on after {slow['longest_s']:.1f} s at the latest "
        f"(`--client-timeout {slow['client_timeout_s']:.0f}`) |",
        f"| SIGTERM while {terminated['waiting']} wait | {terminated['answered_200']} answered, exit code "
        f"{terminated['exit_code']} after {terminated['seconds']:.1f} s |",
        "| `kill -9` of one of two processes under load | answers by status (0: none came) "
        + ", ".join(f"{number} x {status}" for status, number in killed["answers"].items())
        + f"; two again after {killed['replaced_s']:.1f} s |",
        "",
    ]


if __name__ == "__main__":
    main()
