"""The machine and the versions that ran the benchmark, for the record beside the figures."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["record"]

_PACKAGES = ("secam-onnx", "onnxruntime", "onnxruntime-gpu", "onnx", "numpy", "scikit-image", "pillow")


def record(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Record date, machine, and versions of our dependencies and of further packages, as plain JSON types."""
    versions = {"python": platform.python_version()}
    for name in (*_PACKAGES, *packages):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "processor": _processor(),
            "cpus": os.cpu_count(),
            "platform": platform.platform(),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
        "versions": versions,
    }


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()
