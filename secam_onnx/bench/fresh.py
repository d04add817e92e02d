"""What only a fresh process can tell: the peak memory of one forward pass, of one explanation, of a whole command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from secam_onnx.bench.rounds import DropoutError

__all__ = ["peak_memory", "run_command"]

# `ru_maxrss` would count the parent as well: Linux carries it over fork and exec.
_PEAK = """
import sys
def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
_FORWARD = f"""{_PEAK}
import numpy as np
import onnxruntime
if sys.argv[4].startswith("CUDA"):
    onnxruntime.preload_dlls()
session = onnxruntime.InferenceSession(sys.argv[1], providers=sys.argv[4:])
inputs = np.load(sys.argv[2])
session.run([session.get_outputs()[0].name], {{session.get_inputs()[0].name: inputs}})
print(peak())
"""
_EXPLAIN = f"""{_PEAK}
from secam_onnx import Explainer
Explainer(sys.argv[1], providers=sys.argv[4:]).explain(sys.argv[3])
print(peak())
"""
_COMMAND = f"""{_PEAK}
from secam_onnx.cli import main
try:
    main()
finally:
    print(peak())
"""


def peak_memory(model: Path, inputs: Path, photograph: Path, providers: Sequence[str]) -> dict[str, int]:
    """Peak resident bytes of a process that does one plain forward pass, and of one that explains one photograph.

    Parameters
    ----------
    model : Path
        The ONNX file.
    inputs : Path
        The model's input for one image, as NPY.
    photograph : Path
        An image file.
    providers : sequence of str
        ONNX Runtime's names.
    """
    arguments = [str(model), str(inputs), str(photograph), *providers]
    return {name: _run(code, arguments) for name, code in (("forward", _FORWARD), ("explain", _EXPLAIN))}


def run_command(*arguments: str) -> int:
    """Run a command of `secam-onnx` in a fresh process; gives its peak resident bytes.

    Raises
    ------
    DropoutError
        It failed; the message is the last line that it printed.
    """
    return _run(_COMMAND, arguments)


def _run(code: str, arguments: Sequence[str]) -> int:
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise DropoutError(lines[-1])
    return int(done.stdout.split()[-1])
