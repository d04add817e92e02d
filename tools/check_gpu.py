"""Check and time the package on a machine with an NVIDIA card, without network, in a few minutes.

    pip install "secam-onnx[gpu,export]"
    python tools/check_gpu.py                              # writes benchmarks/gpu.json
    python tools/check_gpu.py --provider cpu --networks lite0 --json cpu.json   # tries the script itself on any machine

Each check is a process with an end of its own, so that one that crashes or hangs costs no other:

- `providers`: what ONNX Runtime offers, and what a session really starts on.
- `drift`: classes, logits, contributions and completeness on the card beside those of the CPU, with TF32 (CUDA's own
  default for float32), without it, and with the network in float16.
- `time`: the plain forward pass and the explanation in turns, for batches of 1, 8 and 32, and the share of each step.
- `copies`: what ONNX Runtime copies between card and host in one explanation, from its own profile.
- `fallback`: the same with the card hidden; `auto` goes on with the CPU, `cuda` says why it does not.

The networks but for the default one are torchvision's, with random weights (seed 0): those change what is explained,
not how long it takes. Nothing is judged here but a wrong answer; the figures are for people.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from benchmarking.networks import ROOT
from benchmarking.options import names_among

from secam_onnx.bench import record
from secam_onnx.default_model import default_model

NETWORKS = ("lite0", "resnet50", "vgg16", "vit_b_16")

# In a process of its own, so that PyTorch's CUDA is not in the ones that are timed. Nothing is proven, which takes
# minutes for a transformer; the checks compare with the CPU anyway.
EXPORT = """
import sys
sys.path.insert(0, "tests/support")
try:
    import torchvision
except RuntimeError:
    import torchvision_cpu  # the development machines have no CPU build of torchvision
import numpy
import onnx
from secam_onnx.export import open_source
model = open_source(sys.argv[1], "none", 0).model
for tensor in model.graph.initializer:  # torchvision begins a transformer's head with zeros
    values = onnx.numpy_helper.to_array(tensor)
    if values.ndim == 2 and not values.any():
        values = numpy.random.default_rng(0).normal(0, 0.05, values.shape).astype(values.dtype)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
onnx.save(model, sys.argv[2])
"""

NO_TF32 = {"NVIDIA_TF32_OVERRIDE": "0"}
NO_CARD = {"CUDA_VISIBLE_DEVICES": ""}


@click.command(context_settings={"show_default": True})
@click.option(
    "--networks", default=",".join(NETWORKS), callback=names_among(NETWORKS), help="Which, separated by commas."
)
@click.option("--provider", default="cuda", help="cuda; cpu to try this script where there is no card.")
@click.option("--batches", default="1,8,32", help="Photographs a forward pass, separated by commas.")
@click.option(
    "--rounds", default=10, type=click.IntRange(1), help="Rounds in which forward pass and explanation take turns."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Folder for exported networks.  [default: temporary]")
@click.option("--limit", default=100, type=click.IntRange(1), help="Seconds that one check may take.")
@click.option("--budget", default=330, type=click.IntRange(1), help="Seconds after which no further check begins.")
@click.option("--json", "json_file", default=ROOT / "benchmarks" / "gpu.json", type=click.Path(path_type=Path))
def main(
    networks: list[str],
    provider: str,
    batches: str,
    rounds: int,
    cache: Path | None,
    limit: int,
    budget: int,
    json_file: Path,
) -> None:
    """Check and time the package on a machine with an NVIDIA card."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = cache or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results: dict[str, Any] = {"record": record(["torch", "torchvision"]), "provider": provider, "checks": []}
        end = time.monotonic() + budget
        for number, (check, options, environment) in enumerate(_checks(networks, provider, batches, rounds, folder)):
            if time.monotonic() > end:
                found: dict[str, Any] = {"skipped": f"the time ({budget} s) was over"}
            else:
                click.echo(f"{check} {options.get('network', '')} {' '.join(environment)}", err=True)
                found = _in_process(check, options, environment, limit)
            results["checks"].append({"check": check, **options, "environment": environment, **found})
            if number == 0 and provider == "cuda" and "CUDAExecutionProvider" not in found.get("started", ()):
                click.echo("CUDA does not start here; the other checks are left out.", err=True)
                break
            json_file.parent.mkdir(parents=True, exist_ok=True)
            json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")  # what is known so far
    json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    failed = [entry for entry in results["checks"] if "error" in entry]
    for entry in failed:
        click.echo(f"{entry['check']} {entry.get('network', '')}: {entry['error'][-600:]}", err=True)
    sys.exit(1 if failed else 0)


def _checks(
    networks: list[str], provider: str, batches: str, rounds: int, folder: Path
) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    """What is checked, the most telling first: check, its options, what is added to its environment."""
    files: dict[str, str] = {}

    def of(network: str, **options: Any) -> dict[str, Any]:
        if network not in files:
            files[network] = str(_model_file(network, folder))
        return {"network": network, "file": files[network], "provider": provider, **options}

    sizes = [int(size) for size in batches.split(",")]
    checks: list[tuple[str, dict[str, Any], dict[str, str]]] = [("providers", {"provider": provider}, {})]
    checks += [("fallback", {"provider": provider}, NO_CARD)]
    for network in networks:
        checks += [("drift", of(network), {}), ("drift", of(network), NO_TF32)]
        checks += [("time", of(network, batches=sizes, rounds=rounds), {}), ("copies", of(network), {})]
    # ONNX Runtime 1.32 crashes on what its own converter makes of torchvision's transformer, and VGG16 takes long.
    checks += [("drift", of(network, float16=True), {}) for network in networks if network in ("lite0", "resnet50")]
    return checks


def _model_file(network: str, folder: Path) -> Path:
    if network == "lite0":
        return default_model()
    path = folder / f"{network}.onnx"
    if not path.exists():
        click.echo(f"export {network}", err=True)
        subprocess.run([sys.executable, "-c", EXPORT, network, path.absolute()], check=True, cwd=ROOT)
    return path


def _in_process(check: str, options: dict[str, Any], environment: dict[str, str], limit: int) -> dict[str, Any]:
    """One check, or why there is no result of it."""
    command = [sys.executable, "-m", "gpu_checks.tasks", check, json.dumps(options)]
    start = time.monotonic()
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=Path(__file__).parent,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no result after {limit} s"}
    seconds = {"seconds": round(time.monotonic() - start, 1)}
    if done.returncode or not done.stdout.strip():
        return {"error": f"exit code {done.returncode}: {done.stderr.strip()[-2000:]}", **seconds}
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "stderr": done.stderr.strip()[-500:], **seconds}


if __name__ == "__main__":
    main()
