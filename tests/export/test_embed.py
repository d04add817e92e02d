"""The embeddings of photographs are those of the untouched file, fed as the model's pictures are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from encoders import LENGTH, SIDE, clip_like, encoder
from PIL import Image

from secam_onnx import Explainer, Preprocessing
from secam_onnx.errors import ImageError, OptionError
from secam_onnx.export import Source, embed, export_model, from_onnx, with_classes
from secam_onnx.export.embed import names_of_files


def plain(file: Path, image: np.ndarray, output: str = "image_embeds") -> np.ndarray:
    """The whole picture resized by Pillow, its values as they are, in plain ONNX Runtime."""
    resized = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    feeds = {"pixel_values": resized.transpose(2, 0, 1)[None] / 255}
    rest = {"input_ids": np.ones((1, 2), np.int64), "attention_mask": np.ones((1, 2), np.int64)}
    feeds |= {value.name: rest[value.name] for value in session.get_inputs() if value.name in rest}
    return session.run([output], feeds)[0][0]


@pytest.fixture
def squashed() -> Preprocessing:
    return Preprocessing(size=(SIDE, SIDE), resize_to=None, interpolation="bilinear", mean=(0.0,) * 3, std=(255.0,) * 3)


@pytest.mark.parametrize("model", [encoder(), encoder(batch=2), clip_like()], ids=["encoder", "batch of 2", "clip"])
def test_embeddings(tmp_path: Path, photo: Path, chelsea: np.ndarray, squashed: Preprocessing, model) -> None:  # type: ignore[no-untyped-def]
    onnx.save(model, tmp_path / "encoder.onnx")
    source = from_onnx(tmp_path / "encoder.onnx")
    found = embed(Source(source.model, squashed), [photo, chelsea, Image.open(photo), chelsea[:, ::-1]])
    assert found.shape == (4, LENGTH)
    assert found.dtype == np.float32
    if "2" not in str(model.graph.input[0].type.tensor_type.shape.dim[0].dim_value):
        wanted = [plain(tmp_path / "encoder.onnx", image) for image in (chelsea, chelsea[:, ::-1].copy())]
        np.testing.assert_allclose(found, np.stack([wanted[0]] * 3 + wanted[1:]), rtol=1e-4, atol=1e-5)


def test_one_photograph(photo: Path, chelsea: np.ndarray) -> None:
    one = embed(Source(encoder()), [photo])
    np.testing.assert_array_equal(one, embed(Source(encoder()), [chelsea]))
    assert one.shape == (1, LENGTH)
    assert embed(Source(encoder()), [photo], embedding="flat").shape == (1, 6)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_tokens_are_pooled(tmp_path: Path, chelsea: np.ndarray, squashed: Preprocessing, pool: str) -> None:
    onnx.save(encoder(output="tokens"), tmp_path / "encoder.onnx")
    tokens = plain(tmp_path / "encoder.onnx", chelsea, "tokens")
    found = embed(Source(encoder(output="tokens"), squashed), [chelsea], pool=pool)
    np.testing.assert_allclose(found[0], tokens[0] if pool == "class" else tokens.mean(0), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_embedded(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no photographs"):
        embed(Source(encoder()), [])
    with pytest.raises(OptionError, match=r"of type str; a list of photographs"):
        embed(Source(encoder()), "photo.jpg")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="none"):
        embed(Source(encoder()), [tmp_path / "none.jpg"])


def test_a_photograph_is_most_like_itself(tmp_path: Path, chelsea: np.ndarray) -> None:
    """And the map says so of the picture that it was made from: its logit is a cosine of 1."""
    others = [chelsea, chelsea[:100, :100], np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)]
    vectors = embed(Source(encoder()), others)
    export_model(with_classes(Source(encoder()), vectors, ["a", "b", "c"], normalise=True), tmp_path / "like.onnx")
    for name, image in zip("abc", others, strict=True):
        best = Explainer(tmp_path / "like.onnx").explain(image).classes[0]
        assert best.label == name
        assert abs(best.logit - 1) < 1e-4


def test_names() -> None:
    assert names_of_files([Path("a/cat.jpg"), Path("dog.png")]) == ("cat", "dog")
    assert names_of_files([Path("a/cat.jpg"), Path("b/cat.png"), Path("x.y.jpg")]) == ("a/cat.jpg", "b/cat.png", "x.y")
