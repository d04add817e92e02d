"""A folder of photographs, explained by the command as a user runs it, beside forward passes of the same batch size."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from secam_onnx.bench.fresh_process import forward_peak, run_command
from secam_onnx.bench.plain_model import PlainModel
from secam_onnx.bench.rounds import Candidate, take_turns
from secam_onnx.files import temporary_folder

__all__ = ["time_folder"]

_PASSES = 3  # in the process whose memory is measured; more passes take no more memory


def time_folder(
    path: Path,
    plain: PlainModel,
    inputs: np.ndarray,
    photograph: np.ndarray,
    *,
    images: int,
    rounds: int,
    providers: Sequence[str],
) -> dict[str, Any]:
    """Time `secam-onnx explain FOLDER --to parquet` and forward passes of the same batch size, in turns.

    Each run of the command is a fresh process. It runs on all images and on a single batch; the difference is the time
    of a running command, which is what counts for many images.

    Parameters
    ----------
    path : Path
        The ONNX file.
    plain : PlainModel
        The same file in a bare session.
    inputs : ndarray
        The model's input for one batch.
    photograph : ndarray
        `(H, W, 3)` uint8; the folder is filled with copies of it as JPEG.
    images : int
        How many photographs are in the folder; rounded to whole batches, at least two.
    rounds : int
        Rounds that count.
    providers : sequence of str
        ONNX Runtime's names.

    Returns
    -------
    dict
        `batch_size`, `images`; `ms`, milliseconds per image: `forward`, `folder` (with the start of the process),
        `start` (milliseconds of one batch, with the start of the process); `others_cores`; `peak_bytes` of the commands
        by number of images, and of `forward` passes of the batch. Or `skipped`: why the command cannot run.
    """
    batch = len(inputs)
    images = max(images, 2 * batch) // batch * batch
    with temporary_folder() as temporary:
        command = _FolderCommand(temporary, path, batch, providers[0])
        for count in (batch, images):
            command.fill(count, photograph)
        found = take_turns(
            {
                "forward": Candidate(lambda: _forward(plain, inputs, images), images=images),
                "start": Candidate(lambda: command.run(batch)),
                "folder": Candidate(lambda: command.run(images), images=images),
            },
            rounds,
            warm_up=0,
        )
    if found.skipped:
        return {"skipped": next(iter(found.skipped.values()))}
    return {
        "batch_size": batch,
        "images": images,
        "ms": found.ms,
        "others_cores": found.others_cores,
        "peak_bytes": {**command.peaks, "forward": forward_peak(path, inputs, providers, _PASSES)},
    }


class _FolderCommand:
    """The command on folders of different sizes, and the peak memory that it took."""

    def __init__(self, room: Path, model: Path, batch_size: int, provider: str) -> None:
        self._room, self._model, self._batch_size, self._provider = room, model, batch_size, provider
        self.peaks: dict[str, int] = {}

    def fill(self, count: int, photograph: np.ndarray) -> None:
        """Make a folder of that many copies of the photograph."""
        buffer = io.BytesIO()
        Image.fromarray(photograph).save(buffer, format="JPEG", quality=90)
        folder = self._room / str(count)
        folder.mkdir()
        for index in range(count):
            (folder / f"{index:06}.jpg").write_bytes(buffer.getvalue())

    def run(self, count: int) -> None:
        """Explain the folder of that many photographs."""
        output = self._room / "out"
        shutil.rmtree(output, ignore_errors=True)
        output.unlink(missing_ok=True)
        options = ["--model", self._model, "--provider", self._provider, "--batch-size", self._batch_size]
        command = ["explain", self._room / str(count), *options, "--to", "parquet", "--output", output]
        peak = run_command(*map(str, command))
        self.peaks[str(count)] = max(self.peaks.get(str(count), 0), peak)


def _forward(plain: PlainModel, inputs: np.ndarray, images: int) -> None:
    for _ in range(images // len(inputs)):
        plain.forward(inputs)
