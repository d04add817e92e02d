"""Measurements in fresh processes: the peak memory of a forward pass, of an explanation, of a whole command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from secam_onnx.bench.rounds import DropoutError
from secam_onnx.files import temporary_folder

__all__ = ["explain_peak", "forward_peak", "run_command"]

# On Linux `ru_maxrss` would include the parent's peak, which survives fork and exec.
_PEAK = """
import sys
def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        try:
            import resource
        except ImportError:  # on Windows
            sys.exit("peak memory cannot be measured on this system")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
_FORWARD = f"""{_PEAK}
import numpy as np
import onnxruntime
model, inputs, passes, *providers = sys.argv[1:]
if providers[0].startswith("CUDA"):
    onnxruntime.preload_dlls()
session = onnxruntime.InferenceSession(model, providers=providers)
entry, batch = session.get_inputs()[0], np.load(inputs)
size = entry.shape[0] if isinstance(entry.shape[0], int) else len(batch)
for _ in range(int(passes)):
    for start in range(0, len(batch), size):
        session.run([session.get_outputs()[0].name], {{entry.name: batch[start : start + size]}})
print(peak())
"""
_EXPLAIN = f"""{_PEAK}
from secam_onnx import Explainer
model, photograph, *providers = sys.argv[1:]
Explainer(model, providers=providers).explain(photograph)
print(peak())
"""
_COMMAND = f"""{_PEAK}
from secam_onnx.cli import main
try:
    main()
finally:
    print(peak())
"""


def forward_peak(model: Path, inputs: np.ndarray, providers: Sequence[str], passes: int = 1) -> int:
    """Measure the peak resident bytes of a process that does plain forward passes and nothing else.

    Parameters
    ----------
    model : Path
        The ONNX file.
    inputs : ndarray
        The model's input.
    providers : sequence of str
        ONNX Runtime's names.
    passes : int
        How many passes. From the second one on, ONNX Runtime plans its memory ahead, which takes more.

    Raises
    ------
    DropoutError
        The process failed; the message is the last line that it printed.
    """
    with temporary_folder() as room:
        file = room / "inputs.npy"
        np.save(file, inputs)
        return _run(_FORWARD, [str(model), str(file), str(passes), *providers])


def explain_peak(model: Path, photograph: Path, providers: Sequence[str]) -> int:
    """Measure the same of a process that explains one photograph."""
    return _run(_EXPLAIN, [str(model), str(photograph), *providers])


def run_command(*arguments: str) -> int:
    """Run a command of `secam-onnx` in a fresh process; return its peak resident bytes.

    Raises
    ------
    DropoutError
        The process failed; the message is the last line that it printed.
    """
    return _run(_COMMAND, arguments)


def _run(code: str, arguments: Sequence[str]) -> int:
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise DropoutError(lines[-1])
    return int(done.stdout.split()[-1])
