"""Which axes an input has: what the first convolution reads, then lengths, then what the caller says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from other_inputs import CLASSES, SIZE, classifier_of
from PIL import Image
from tiny_models import classifier

from secam_onnx import Explainer, PreprocessingSettings, fuse
from secam_onnx.errors import ModelError
from secam_onnx.graph.index import Graph
from secam_onnx.photograph.model_input import image_input

LAST = "x = Transpose <perm = [0, 3, 1, 2]> (image)"
READ = {  # shape, nodes up to the convolution, its channels: axes
    "grey": (("N", 1, SIZE, SIZE), "x = Identity (image)", 1, "NCHW"),
    "grey, last": (("N", SIZE, SIZE, 1), LAST, 1, "NHWC"),
    "alpha": (("N", 4, SIZE, SIZE), "x = Mul (image, image)", 4, "NCHW"),
    "alpha, last": (("N", SIZE, SIZE, 4), LAST, 4, "NHWC"),
    "as many channels as rows": (("N", SIZE, SIZE, SIZE), LAST, SIZE, "NHWC"),
    "more channels than rows": (("N", 64, SIZE, SIZE), "x = Identity (image)", 64, "NCHW"),
    "all open": (("N", "A", "B", "C"), LAST, 12, "NHWC"),
    "rows are no colours": (("N", 12, SIZE, 3), "x = Identity (image)", 12, "NCHW"),
    "Paddle's open lengths": ((-1, 1, -1, -1), "x = Identity (image)", 1, "NCHW"),
    "grey without its axis": (("N", SIZE, SIZE), "x = Unsqueeze (image, i_1)", 1, "NHW"),
    "Keras's digits": (
        ("N", SIZE, SIZE),
        "t = Unsqueeze (image, i_3) x = Transpose <perm = [0, 3, 1, 2]> (t)",
        1,
        "NHW",
    ),
    "one image, reshaped": ((1, SIZE, SIZE), "x = Reshape (image, nchw)", 1, "NHW"),
    "colours without a batch": ((3, SIZE, SIZE), "x = Unsqueeze (image, i_0)", 3, "CHW"),
    "last without a batch": (
        (SIZE, SIZE, 4),
        "t = Transpose <perm = [2, 0, 1]> (image) x = Unsqueeze (t, i_0)",
        4,
        "HWC",
    ),
    "nothing but rows": ((SIZE, SIZE), "x = Unsqueeze (image, i_0_1)", 1, "HW"),
}


@pytest.mark.parametrize(("shape", "body", "channels", "axes"), READ.values(), ids=READ)
def test_the_first_convolution_tells(shape: Sequence[int | str], body: str, channels: int, axes: str) -> None:
    found = image_input(Graph(classifier_of(shape, body, channels)))
    assert (found.axes, found.channels, found.layout) == (axes, channels, "NHWC" if axes[-1] == "C" else "NCHW")


LENGTHS = {  # of an input whose reader does not tell: axes and channels
    ("N", 3, 8, 8): ("NCHW", 3),
    ("N", 8, 8, 3): ("NHWC", 3),
    ("N", 3, 8, 3): ("NCHW", 3),
    ("N", 1, 8, 9): ("NCHW", 1),
    ("N", 8, 9, 4): ("NHWC", 4),
    ("N", 12, "H", "W"): ("NCHW", 12),
    ("N", "C", "H", "W"): ("NCHW", 3),
    ("N", "C", 8, 8): ("NCHW", 3),
    ("N", 8, 8): ("NHW", 1),
    (4, 8, 8): ("CHW", 4),
    (8, 8, 1): ("HWC", 1),
    (8, 8): ("HW", 1),
}


def unread(shape: Sequence[int | str]) -> Graph:
    model = classifier()
    model.graph.node[0].op_type = "Sin"  # whatever it makes, it is not followed
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("image", 1, list(shape)))
    del model.graph.node[1:], model.graph.output[:]
    return Graph(model)


@pytest.mark.parametrize(("shape", "expected"), LENGTHS.items(), ids=str)
def test_lengths_tell_where_the_graph_does_not(shape: Sequence[int | str], expected: tuple[str, int]) -> None:
    found = image_input(unread(shape))
    assert (found.axes, found.channels) == expected


def test_what_is_left_open_is_asked_for() -> None:
    graph = unread(("N", 8, 8, 8))
    with pytest.raises(ModelError, match=r"\(\?, 8, 8, 8\).*which axis counts channels.*--layout"):
        image_input(graph)
    assert image_input(graph, "NHWC").axes == "NHWC"
    assert image_input(unread(("N", "C", "H", "W")), "NHWC", 12).channels == 12


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (("N", 10_000), "lengths of 1 to 8192"),
        ((8,), "one without N or C"),
        ((1, 1, 3, 8, 8), "one without N or C"),
        ((1, 600, 700, 700), "600 channels; at most 512"),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused(shape: Sequence[int | str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        image_input(unread(shape))


ENDS = {
    "classes of a batch": ("logits = Identity (l)", (1, CLASSES)),
    "classes alone": ("logits = Squeeze (l, i_0)", (CLASSES,)),
    "classes alone, as probabilities": ("s = Softmax (l) logits = Squeeze (s, i_0)", (CLASSES,)),
    "probabilities of classes alone": ("s = Squeeze (l, i_0) logits = Softmax (s)", (CLASSES,)),
    "the first of a batch": ("logits = Gather (l, zero)", (CLASSES,)),
    "classes alone, all axes": ("logits = Squeeze (l)", (CLASSES,)),
    "classes alone, reshaped": ("logits = Reshape (l, minus)", (CLASSES,)),
}


@pytest.mark.parametrize(("end", "scores"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("name", ["colours without a batch", "last without a batch", "nothing but rows"])
def test_without_a_batch_axis(name: str, end: str, scores: Sequence[int], tmp_path: Path, chelsea: np.ndarray) -> None:
    shape, body, channels, axes = READ[name]
    model = classifier_of(shape, body, channels, end=end, scores=scores)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    explainer = Explainer(
        path, providers="cpu", preprocessing=PreprocessingSettings(crop="none", mean=(0,), std=(255,))
    )
    images = [chelsea, 255 - chelsea]
    if channels == 4:
        images = [np.dstack([image, image[..., 0]]) for image in images]
    for image, result in zip(images, explainer.explain_batch(images, "all"), strict=True):
        x = explainer.preprocessing.normalise(explainer.preprocessing.crop(image)[0])  # as other tests show it
        fed = x[0, 0] if axes == "HW" else x[0]
        (said,) = onnxruntime.InferenceSession(str(path)).run(None, {"image": fed})
        logits = np.array([entry.logit for entry in result.classes])
        if "Softmax" in end:
            said = np.log(said)
            logits = logits - np.log(np.exp(logits).sum())
        np.testing.assert_allclose(logits, said.ravel(), atol=1e-5)
        assert result.completeness_error < 1e-5
        assert result.cam.shape == (CLASSES, SIZE // 4, SIZE // 4)


@pytest.mark.parametrize(
    "name",
    ["grey", "grey, last", "Paddle's open lengths", "Keras's digits", "colours without a batch", "nothing but rows"],
)
def test_fused_files_of_such_models(name: str, tmp_path: Path, chelsea: np.ndarray) -> None:
    shape, body, channels, axes = READ[name]
    scores = ("N" if "N" in axes else 1, CLASSES)
    onnx.save(classifier_of(shape, body, channels, scores=scores), tmp_path / "model.onnx")
    settings = PreprocessingSettings(size=(SIZE, SIZE), crop="none", mean=(0.0,), std=(255.0,))
    record = fuse(tmp_path / "model.onnx", tmp_path / "fused.onnx", preprocessing=settings).fused
    assert record is not None
    assert record.batch == (None if "N" in axes else 1)
    picture = Image.fromarray(chelsea).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    session = onnxruntime.InferenceSession(str(tmp_path / "fused.onnx"))
    logits, parts, bias = session.run(
        ["logits", "segment_contributions", "bias"],
        {"image": np.asarray(picture)[None], "classes": np.arange(CLASSES)[None]},
    )
    pixels = np.asarray(picture if channels == 3 else picture.convert("L"), dtype=np.float32) / 255
    pixels = pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]
    x = {"NCHW": pixels[None], "NHWC": pixels[..., None], "NHW": pixels, "CHW": pixels, "HW": pixels[0]}[axes]
    (said,) = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"image": x})
    np.testing.assert_allclose(logits, said, atol=1e-5)
    np.testing.assert_allclose(parts.sum(2) + bias, said, atol=1e-4)


def test_fused_files_take_photographs_alone(tmp_path: Path) -> None:
    onnx.save(classifier_of(("N", 4, SIZE, SIZE), channels=4), tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"8-bit RGB as it is, and this one takes 4 channels\. .*without --fused\.$"):
        fuse(tmp_path / "model.onnx", tmp_path / "fused.onnx")
    assert not (tmp_path / "fused.onnx").exists()
    onnx.save(classifier_of(("N", 1, SIZE, SIZE), channels=1), tmp_path / "grey.onnx")
    settings = PreprocessingSettings(value_range=(0, 4095), channels=(2,))
    with pytest.raises(
        ModelError, match=r"takes images by value_range and channels\. .*leave value_range and channels"
    ):
        fuse(tmp_path / "grey.onnx", tmp_path / "fused.onnx", preprocessing=settings)
