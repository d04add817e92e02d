"""Models of other than three channels behind a server: photographs for grey ones, TIFF and NPY files for others."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile
from other_inputs import CLASSES, SIZE, classifier_of
from serving import Server, check_json, instances

from secam_onnx import Explainer
from secam_onnx.photograph.images import EncodedImage

pytest.importorskip("kserve")

CUBE = np.random.default_rng(0).integers(0, 65536, (40, 50, 12)).astype(np.uint16)


def as_npy(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def as_tiff(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="minisblack", planarconfig="contig")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("channels")
    shapes = {"grey": ("N", 1, SIZE, SIZE), "bands": ("N", 12, SIZE, SIZE)}
    for name, shape in shapes.items():
        onnx.save(classifier_of(shape, channels=int(shape[1])), folder / f"{name}.onnx")
    return {name: folder / f"{name}.onnx" for name in shapes}


@pytest.fixture(scope="module")
def server(start: Callable[..., Server], models: Mapping[str, Path]) -> Server:
    limits = ("--max-pixels", "10000", "--max-body-mb", "4", "--timeout", "120")
    return start(*(word for name, path in models.items() for word in ("--model", f"{name}={path}")), *limits)


@pytest.mark.parametrize("name", ["grey", "bands"])
def test_explanations_are_those_of_the_package(
    server: Server, models: Mapping[str, Path], photographs: list[bytes], name: str
) -> None:
    files = [as_tiff(CUBE), as_npy(CUBE)] if name == "bands" else [as_npy(CUBE[..., 0])]
    explainer = Explainer(models[name], providers="cpu")
    for data in files:
        expected = explainer.explain(EncodedImage("image", data))
        for reply in (
            server.post(f"/v1/models/{name}:explain", instances(data)),
            server.post(f"/v1/models/{name}:explain", data),
        ):
            assert reply.status_code == 200, reply.text
            (found,) = reply.json()["explanations"]
            check_json(found["predictions"], [vars(entry) for entry in expected.predictions])
            assert found["predictions"][0]["index"] < CLASSES
    small = photographs[1]  # 225 x 150
    reply = server.post(f"/v1/models/{name}:predict", instances(small))
    assert reply.status_code == 400
    assert "over the limit" in reply.json()["error"]


def test_a_photograph_for_bands_is_refused_with_both_numbers(server: Server) -> None:
    pixels = np.zeros((1, 20, 20, 3), np.uint8)
    tensor = {"name": "image", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.ravel().tolist()}
    reply = server.post("/v2/models/bands/infer", {"inputs": [tensor]})
    assert reply.status_code == 400
    assert "has 3 channels, and the model takes 12" in reply.json()["error"]
    assert server.post("/v2/models/grey/infer", {"inputs": [tensor]}).status_code == 200


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (as_npy(np.zeros((60, 60, 12), np.uint8)), "over the limit of 10,000"),
        (as_npy(CUBE)[:200], "cannot be decoded"),
        (as_npy(np.zeros((1, 12, 8, 8), np.uint8)), "shape"),
        (as_tiff(CUBE)[:2000], "cannot be decoded"),
        (as_npy(np.full((20, 20, 12), np.nan)), "NaN"),
        (as_npy(np.full((20, 20, 12), 3.0)), "values from 3 to 3"),
    ],
)
def test_bad_files(server: Server, data: bytes, words: str) -> None:
    reply = server.post("/v1/models/bands:explain", instances(data))
    assert reply.status_code == 400
    assert "instances[0]" in reply.json()["error"]
    assert words in reply.json()["error"]
