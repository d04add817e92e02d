"""The unit, read by systemd itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = "secam-onnx.service"
if shutil.which("systemd-analyze") is None:
    pytest.skip("there is no systemd-analyze; on Debian: apt-get install systemd", allow_module_level=True)


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def unit(deploy: Path, tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    text = (deploy / "systemd" / UNIT).read_text()
    assert "\nExecStart=/opt/secam-onnx/bin/secam-onnx serve " in text
    (tmp_path / UNIT).write_text(text.replace("ExecStart=/opt/secam-onnx/bin/secam-onnx", "ExecStart=/bin/true"))
    return tmp_path / UNIT


def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    run = analyze("verify", "--man=no", unit)
    assert (run.returncode, run.stderr) == (0, "")


def test_it_would_find_what_is_wrong(unit: Path) -> None:
    unit.write_text(
        unit.read_text(encoding="utf-8").replace("MemoryMax=4G", "MemoryMax=many").replace("Restart=", "Restarts="),
        encoding="utf-8",
    )
    run = analyze("verify", "--man=no", unit)
    assert "Invalid memory limit 'many'" in run.stderr
    assert "Unknown key 'Restarts'" in run.stderr


def test_little_is_left_open(unit: Path) -> None:
    run = analyze("security", "--offline=true", "--threshold=15", unit)
    assert run.returncode == 0, run.stdout


def test_systemd_waits_for_longer_than_the_server(deploy: Path) -> None:
    lines = (deploy / "systemd" / UNIT).read_text().replace("\\\n", " ").splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    grace = settings["ExecStart"].split("--grace ")[1].split()[0]
    assert float(settings["TimeoutStopSec"]) > float(grace)
    assert (settings["KillSignal"], settings["DynamicUser"]) == ("SIGTERM", "yes")
