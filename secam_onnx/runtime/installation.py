"""Which build of ONNX Runtime is installed; the only module that imports it.

The CPU wheel (`onnxruntime`) and the GPU wheel (`onnxruntime-gpu`) share one import name and overwrite each other, so
neither is a dependency of the package itself.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
from typing import Any

from secam_onnx.errors import MissingDependencyError

__all__ = ["load"]


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@functools.cache
def load() -> Any:
    """Import ONNX Runtime, after making sure that exactly one of its two wheels is installed.

    Returns
    -------
    module
        `onnxruntime`.

    Raises
    ------
    MissingDependencyError
        Neither wheel is installed, both are, or the one that is does not import.
    """
    cpu, gpu = _installed("onnxruntime"), _installed("onnxruntime-gpu")
    if cpu and gpu:
        raise MissingDependencyError(
            "Both onnxruntime and onnxruntime-gpu are installed; they overwrite each other's files. Remove both, then "
            'install one: pip uninstall -y onnxruntime onnxruntime-gpu && pip install "secam-onnx[cpu]" (or [gpu]).'
        )
    # Otherwise 1.32 and later keep an identifier of the device and a record of use in the user's folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime

        onnxruntime.InferenceSession  # noqa: B018  (an uninstalled wheel can leave an empty package behind)
    except (ImportError, AttributeError) as error:
        if cpu or gpu:
            raise MissingDependencyError(
                f"ONNX Runtime is installed but does not import ({error}). Reinstall it: pip install --force-reinstall "
                f"{'onnxruntime' if cpu else 'onnxruntime-gpu'}."
            ) from error
        raise MissingDependencyError(
            'ONNX Runtime is not installed. Install one of its two builds: pip install "secam-onnx[cpu]", or '
            'pip install "secam-onnx[gpu]" for NVIDIA cards.'
        ) from error
    return onnxruntime
