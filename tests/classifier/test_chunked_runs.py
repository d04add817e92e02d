"""Runs for some images and classes at a time give what one run gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from secam_onnx import runtime
from secam_onnx.classifier.chunked_runs import run_in_chunks

VALUES = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
IDS = np.random.default_rng(1).integers(0, 7, (5, 4))


@pytest.mark.parametrize("chunk", [(1, 1), (2, 3), (3, 4), (5, 4), (9, 9)])
@pytest.mark.parametrize("fill", [False, True])
def test_results_are_joined_and_runs_are_no_larger_than_asked(
    chunk: tuple[int, int], fill: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []

    def run(session: Any, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        x, ids = feeds["x"], feeds["ids"]
        sizes.append(ids.shape)
        made = {"picked": np.take_along_axis(x, ids, axis=1), "total": x.sum(axis=1)}
        return [made[name] for name in names]

    monkeypatch.setattr(runtime, "run", run)
    total, picked = run_in_chunks(
        None,
        ["total", "picked"],
        {"x": VALUES},
        ("ids", IDS),
        chunk,
        fill=fill,
        of_classes={"picked"},  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(picked, np.take_along_axis(VALUES, IDS, axis=1))
    np.testing.assert_array_equal(total, VALUES.sum(axis=1))
    images, classes = chunk
    assert all(columns <= classes and (rows == images if fill else rows <= images) for rows, columns in sizes)
    assert len(sizes) == -(-5 // images) * -(-4 // classes)
