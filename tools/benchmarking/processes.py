"""What is measured in fresh processes: whole commands, peak memory; and the exports, which keep PyTorch out of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import click
from benchmarking.candidates import PHOTO, ROOT, Times

from secam_onnx.classifier import default_model

__all__ = ["model_file", "peak_memory", "time_processes"]

# Exported in a process of its own, so that PyTorch and its threads are not in the one that is timed.
EXPORT = """
import sys
sys.path.insert(0, "tests")
try:
    import torchvision
except RuntimeError:
    import torchvision_cpu  # the development machines have no CPU build of torchvision
from secam_onnx.export import export_model, open_source
export_model(open_source(sys.argv[1], "none", 0), sys.argv[2])
"""

# `ru_maxrss` would count the parent as well: Linux carries it over fork and exec.
PEAK = """
def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
FORWARD_PEAK = f"""
import sys
import numpy as np
import onnxruntime
{PEAK}
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
shape = [length if isinstance(length, int) else 1 for length in entry.shape]
session.run([session.get_outputs()[0].name], {{entry.name: np.zeros(shape, np.float32)}})
print(peak())
"""
EXPLAIN_PEAK = f"""
import sys
from secam_onnx import Explainer
{PEAK}
Explainer(sys.argv[1], providers="cpu").explain(sys.argv[2])
print(peak())
"""


def _run_python(code: str, *arguments: object) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def model_file(name: str, cache: Path) -> Path:
    """The explainable file of one model; exported on first use."""
    if name == "default":
        return default_model()
    path = cache / f"{name}.onnx"
    if not path.exists():
        _run_python(EXPORT, name, path.absolute())
    return path


def peak_memory(path: Path) -> dict[str, int]:
    """Peak resident bytes of a process that does one plain forward pass, and of one that explains one photograph."""
    return {"forward": int(_run_python(FORWARD_PEAK, path)), "explain": int(_run_python(EXPLAIN_PEAK, path, PHOTO))}


def time_processes(repeats: int) -> Times:
    """Seconds of whole processes, each started afresh, files in the disk cache."""
    program = shutil.which("secam-onnx", path=sysconfig.get_path("scripts"))
    if program is None:
        raise click.ClickException("The secam-onnx program is not installed in this environment: pip install -e .")
    commands: dict[str, list[str]] = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import secam_onnx": [sys.executable, "-c", "import secam_onnx"],
        "secam-onnx --help": [program, "--help"],
        "secam-onnx explain": [program, "explain", str(PHOTO), "--provider", "cpu"],
    }
    # An installed package has its bytecode; a checkout writes it in the first, uncounted round.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    times: Times = {name: [] for name in commands}
    for round_ in range(-1, repeats):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory() as room:
                start = time.perf_counter()
                subprocess.run(command, check=True, cwd=room, env=environment, stdout=subprocess.DEVNULL)
                if round_ >= 0:
                    times[name].append(time.perf_counter() - start)
    return times
