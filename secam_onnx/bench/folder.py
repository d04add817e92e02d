"""A folder of photographs, explained by the command as a user runs it, beside plain forward passes of the same size."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from secam_onnx.bench.fresh_process import forward_peak, run_command
from secam_onnx.bench.plain_model import PlainModel
from secam_onnx.bench.rounds import Candidate, take_turns

__all__ = ["time_folder"]

_PASSES = 3  # of the network in a process whose memory is measured; more take no more


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

    The command is a fresh process each time. It runs on all images and on a single batch; the difference is what it
    takes once it is running, which is what counts for many images.

    Parameters
    ----------
    path : Path
        The ONNX file.
    plain : PlainModel
        The same, opened.
    inputs : ndarray
        Its input for one batch.
    photograph : ndarray
        `(H, W, 3)` uint8; the folder is filled with JPEG copies of it.
    images : int
        How many.
    rounds : int
        How often.
    providers : sequence of str
        ONNX Runtime's names.

    Returns
    -------
    dict
        `batch_size`, `images`; `ms`, milliseconds an image: `forward`, `folder` (all of it, start included), `start`
        (milliseconds of one batch, start included); `others_cores`; `peak_bytes` of the commands, by number
        of images, and of `forward` passes of the batch.
        Or `skipped`: why the command cannot run.
    """
    batch = len(inputs)
    images = max(images, 2 * batch) // batch * batch
    buffer = io.BytesIO()
    Image.fromarray(photograph).save(buffer, format="JPEG", quality=90)
    peaks: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as room:

        def explain_folder(number: int) -> None:
            output = Path(room) / "out"
            shutil.rmtree(output, ignore_errors=True)
            output.unlink(missing_ok=True)
            peaks[str(number)] = max(
                peaks.get(str(number), 0),
                run_command(*_command(path, Path(room) / str(number), output, batch, providers[0])),
            )

        for number in (batch, images):
            folder = Path(room) / str(number)
            folder.mkdir()
            for index in range(number):
                (folder / f"{index:06}.jpg").write_bytes(buffer.getvalue())
        found = take_turns(
            {
                "forward": Candidate(lambda: _forward(plain, inputs, images), images=images),
                "start": Candidate(lambda: explain_folder(batch)),
                "folder": Candidate(lambda: explain_folder(images), images=images),
            },
            rounds,
            warm_up=0,
        )
    if found.skipped:
        return {"skipped": next(iter(found.skipped.values()))}
    peaks["forward"] = forward_peak(path, inputs, providers, _PASSES)
    return {
        "batch_size": batch,
        "images": images,
        "ms": found.ms,
        "others_cores": found.others_cores,
        "peak_bytes": peaks,
    }


def _command(path: Path, folder: Path, output: Path, batch: int, provider: str) -> Sequence[str]:
    options = ["--model", path, "--provider", provider, "--batch-size", batch, "--to", "parquet", "--output", output]
    return [str(part) for part in ("explain", folder, *options)]


def _forward(plain: PlainModel, inputs: np.ndarray, images: int) -> None:
    for _ in range(images // len(inputs)):
        plain.forward(inputs)
