"""A server under test, and how it is asked."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from servers import Running

from secam_onnx import Explainer
from secam_onnx.explanation import Explanation

if TYPE_CHECKING:
    import httpx

__all__ = ["Server", "b64", "check_json", "check_picture", "check_tensors", "instances"]


class Server:
    """One that was started, and is asked by a public client.

    Attributes
    ----------
    process : Running
        Its process.
    url, grpc : str
        Its addresses: `http://127.0.0.1:PORT`, `127.0.0.1:PORT`.
    """

    def __init__(self, process: Running) -> None:
        self.process = process
        self.url, self.grpc = f"http://127.0.0.1:{process.port}", f"127.0.0.1:{process.grpc_port}"

    def failures(self) -> list[object]:
        """What its log says of failures that are no client's."""
        levels = ("ERROR", "CRITICAL")
        return [line for line in self.process.lines if line.get("level") in levels] + list(self.process.broken)

    def get(self, path: str, **more: Any) -> httpx.Response:
        import httpx  # which comes with the serve extra

        return httpx.get(self.url + path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        """With JSON made of the body, unless it is bytes."""
        import httpx

        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {} if isinstance(body, bytes) else {"content-type": "application/json"}
        return httpx.post(
            self.url + path, content=content, headers={**headers, **more.pop("headers", {})}, timeout=120, **more
        )


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def instances(*images: bytes, **parameters: object) -> dict[str, object]:
    """A request of version 1."""
    body: dict[str, object] = {"instances": [{"image": {"b64": b64(image)}} for image in images]}
    return {**body, "parameters": parameters} if parameters else body


def check_json(found: Any, expected: Any, where: str = "") -> None:
    """The same entries in the same order, numbers up to the rounding of another batch."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for name in expected:
            check_json(found[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for place, value in enumerate(expected):
            check_json(found[place], value, f"{where}[{place}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4), where
    else:
        assert found == expected, where


def check_tensors(found: Mapping[str, np.ndarray], explanations: Sequence[Explanation], explainer: Explainer) -> None:
    """Each output of `infer` against what the package says itself; each photograph has the same number of classes."""
    near = {"rtol": 1e-3, "atol": 1e-4}
    for name, tensor in found.items():
        assert tensor.shape[0] == len(explanations), name
        for row, explanation in zip(tensor, explanations, strict=True):
            ids = [entry.index for entry in explanation.classes]
            n_segments = explanation.segment_scores.shape[1]
            if name == "class_ids":
                assert (row.dtype, row.tolist()) == (np.int64, ids)
            elif name == "class_labels":
                assert [text(value) for value in row] == [entry.label for entry in explanation.classes]
            elif name in ("class_probabilities", "class_logits"):
                field = {"class_probabilities": "probability", "class_logits": "logit"}[name]
                np.testing.assert_allclose(row, [getattr(entry, field) for entry in explanation.classes], **near)
            elif name in ("bias", "cam"):
                np.testing.assert_allclose(row, getattr(explanation, name), **near)
            elif name == "segments":
                np.testing.assert_array_equal(row, explanation.segments)
            elif name == "n_segments":
                assert row == n_segments
            elif name in ("segment_scores", "segment_contributions"):
                expected = explanation.segment_scores if name == "segment_scores" else explanation.segment_contributions
                np.testing.assert_allclose(row[:, :n_segments], expected, **near)
                assert not row[:, n_segments:].any()
            elif name == "box":
                np.testing.assert_array_equal(row, explanation.geometry.box)
            elif name == "image_size":
                np.testing.assert_array_equal(row, explanation.geometry.image_size)
            elif name == "overlay":
                seen, _ = explainer.preprocessing.crop(explanation.image)
                for picture, index in zip(row, ids, strict=True):
                    kept = explanation.keep(index)[explanation.segments][..., None]
                    assert np.abs(picture - np.where(kept, seen, 0.16 * seen)).max() <= 0.51
            elif name == "overlay_png":
                for data, index in zip(row, ids, strict=True):
                    check_picture(
                        data if isinstance(data, bytes) else base64.b64decode(data), explanation.overlay(index)
                    )
            else:
                raise AssertionError(name)
    if {"segment_contributions", "bias", "class_logits"} <= set(found):
        np.testing.assert_allclose(
            found["segment_contributions"].sum(axis=2) + found["bias"], found["class_logits"], **near
        )


def check_picture(data: bytes, expected: Image.Image) -> None:
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
