"""The tool that measures the server: it measures, and its report says what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("kserve")

TOOL = Path(__file__).parents[2] / "tools" / "load_server.py"


@pytest.mark.full
def test_a_short_run(tmp_path: Path) -> None:
    options = ("--rounds", "1", "--overload", "2", "--soak", "6", "--output", str(tmp_path))
    done = subprocess.run(
        [sys.executable, str(TOOL), *options], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "serving.json").read_text())
    assert found["latency"]["ratio"] == pytest.approx(found["latency"]["http_ms"] / found["latency"]["in_process_ms"])
    assert found["overload"]["answered"] > 0
    assert found["overload"]["other"] == {} or set(found["overload"]["other"]) == {"503"}
    assert {"200", "400"} <= set(found["soak"]["answers"]) <= {"0", "200", "400", "403", "404", "413", "421", "429"}
    assert found["soak"]["failures_logged"] == 0
    assert found["soak"]["hostile"]
    assert len(found["soak"]["memory_mb"]) >= 5
    report = (tmp_path / "serving.md").read_text()
    assert f"{found['throughput']['ratio']:.2f}" in report
    assert "## Too many" in report
