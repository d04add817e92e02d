"""The GPU check itself, on the CPU: every check gives a result, and a card that is not there is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(tmp_path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and what was written."""
    target = tmp_path / "gpu.json"
    command = [
        sys.executable,
        ROOT / "tools" / "check_gpu.py",
        "--networks",
        "lite0",
        "--rounds",
        "1",
        "--json",
        target,
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(target.read_text(encoding="utf-8"))


def test_the_cpu_agrees_with_itself(tmp_path: Path) -> None:
    code, results = run(tmp_path, "--provider", "cpu", "--batches", "1,2")
    found = {entry["check"]: entry for entry in results["checks"][:6] if not entry["environment"] or "auto" in entry}
    assert [entry for entry in results["checks"] if "error" in entry] == []
    assert found["drift"]["agree"] == dict.fromkeys(found["drift"]["agree"], 8)
    assert found["drift"]["largest"]["contributions"] == 0
    assert set(found["time"]["batches"]) == {"1", "2"}
    assert sum(found["copies"]["sessions"][0]["nodes"].values()) > 0
    assert found["fallback"]["cuda"].startswith("ProviderError")
    assert code == 0


def test_no_card_is_said_at_once(tmp_path: Path) -> None:
    code, results = run(tmp_path, "--provider", "cuda")
    assert code == 1
    assert len(results["checks"]) == 1
    assert "CUDA" in results["checks"][0]["error"]
