"""How long whole commands take, from nothing to the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import partial

import click
from benchmarking.networks import PHOTO

from secam_onnx.bench import Candidate, Times, take_turns

__all__ = ["time_processes"]


def time_processes(rounds: int) -> Times:
    """Milliseconds of whole processes, each started afresh, files in the disk cache."""
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
    with tempfile.TemporaryDirectory() as room:
        run = partial(subprocess.run, check=True, cwd=room, env=environment, stdout=subprocess.DEVNULL)
        candidates = {name: Candidate(partial(run, command), at_once=True) for name, command in commands.items()}
        return take_turns(candidates, rounds, warm_up=1).ms
