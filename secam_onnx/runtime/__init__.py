"""ONNX Runtime: which build is installed, which execution provider works, and how sessions are opened and run."""

from secam_onnx.runtime.installation import load
from secam_onnx.runtime.opening import open_as_it_is, open_session
from secam_onnx.runtime.providers import CPU, CUDA, Providers, resolve_providers
from secam_onnx.runtime.running import Interrupt, input_dtype, run
from secam_onnx.runtime.shared_weights import SharedWeights
from secam_onnx.runtime.stopping import Stopped, stop_all, stopped

__all__ = [
    "CPU",
    "CUDA",
    "Interrupt",
    "Providers",
    "SharedWeights",
    "Stopped",
    "input_dtype",
    "load",
    "open_as_it_is",
    "open_session",
    "resolve_providers",
    "run",
    "stop_all",
    "stopped",
]
