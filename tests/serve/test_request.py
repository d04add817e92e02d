"""What a request means is read without the packages of a server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import secam_onnx.serve.request

MODULES = sorted(file.stem for file in Path(secam_onnx.serve.request.__path__[0]).glob("*.py"))
SERVERS = ("kserve", "grpc", "fastapi", "starlette", "uvicorn", "orjson", "prometheus_client", "pydantic", "httpx")


@pytest.mark.parametrize("module", MODULES)
def test_nothing_of_a_server_is_imported(module: str) -> None:
    code = f"""
import sys
for name in {SERVERS!r}:
    sys.modules[name] = None
import secam_onnx.serve.request.{module}
own = [name for name in sys.modules if name.startswith("secam_onnx.serve.")]
print(*(name for name in own if not name.startswith("secam_onnx.serve.request")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
