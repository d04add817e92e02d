"""Texts fixed in a file that compares them with images: its logits are those of the untouched file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from encoders import SIDE, WORDS, clip_like, encoder

from secam_onnx import Explainer
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.export import Source, export_model, from_onnx, with_texts

RANDOM = np.random.default_rng(4)
IMAGES = RANDOM.standard_normal((3, 3, SIDE, SIDE)).astype(np.float32)
TOKENS = {
    "input_ids": RANDOM.integers(0, WORDS, (4, 5)),
    "attention_mask": (np.arange(5) < np.array([[5], [3], [2], [4]])).astype(np.int64),
}
NAMES = ("cat", "dog", "bird", "fish")


def run(model: Path, output: str, **feeds: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run([output], {"pixel_values": IMAGES, **feeds})[0]


@pytest.mark.parametrize("convert", [np.asarray, np.int32, np.ndarray.tolist])
def test_logits_are_those_of_the_whole_file(tmp_path: Path, chelsea: np.ndarray, convert: Any) -> None:
    onnx.save(clip_like(), tmp_path / "clip.onnx")
    tokens = {name: convert(value) for name, value in TOKENS.items()} | {"token_type_ids": np.zeros((4, 5), int)}
    metadata = export_model(with_texts(from_onnx(tmp_path / "clip.onnx"), tokens, NAMES), tmp_path / "out.onnx")
    wanted = run(tmp_path / "clip.onnx", "logits_per_image", **TOKENS)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", "logits"), wanted, rtol=1e-4, atol=1e-4)
    model = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["pixel_values"]
    assert "Gather" not in {node.op_type for node in model.graph.node}
    assert "table" not in {tensor.name for tensor in model.graph.initializer}
    assert metadata.labels == NAMES
    assert "4 texts, encoded by the model itself" in metadata.origin["classes"]
    best = Explainer(tmp_path / "out.onnx").explain(chelsea).classes[0]
    assert best.label in NAMES


def test_a_file_for_one_image(tmp_path: Path) -> None:
    onnx.save(clip_like(batch=1), tmp_path / "clip.onnx")
    export_model(with_texts(from_onnx(tmp_path / "clip.onnx"), TOKENS), tmp_path / "out.onnx")
    one = {"pixel_values": IMAGES[:1]}
    wanted = run(tmp_path / "clip.onnx", "logits_per_image", **one, **TOKENS)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", "logits", **one), wanted, rtol=1e-4, atol=1e-4)


def test_the_only_output_of_both_and_one_that_is_named() -> None:
    source = with_texts(Source(clip_like("image_embeds, logits_per_text, logits_per_image")), TOKENS)
    assert source.labels == ("class 0", "class 1", "class 2", "class 3")
    assert "'logits_per_image'" in source.origin["classes"]
    source = with_texts(Source(clip_like("text_embeds, logits_per_image")), TOKENS)
    assert "'logits_per_image'" in source.origin["classes"]
    assert "'cosine' for" in with_texts(Source(clip_like()), TOKENS, logits="cosine").origin["classes"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"tokens": {"input_ids": TOKENS["input_ids"]}}, r"no 'attention_mask', .* there are 'input_ids'"),
    "axes": ({"tokens": TOKENS | {"input_ids": np.ones(5, int)}}, r"'input_ids' has the shape \(5,\); \(\?, \?\)"),
    "empty": ({"tokens": {name: value[:0] for name, value in TOKENS.items()}}, r"shape \(0, 5\)"),
    "type": ({"tokens": TOKENS | {"input_ids": np.ones((4, 5))}}, r"type float64; int64 was expected"),
    "rows": ({"tokens": TOKENS | {"input_ids": np.ones((3, 5), int)}}, r"different numbers .*'input_ids' 3"),
    "labels": ({"labels": ["cat"]}, r"1 labels for 4 texts"),
    "transposed": (
        {"logits": "logits_per_text"},
        r"'logits_per_text' has the shape \(4, 21\) .*\(N, classes\)",
    ),
    "logits": ({"logits": "image_embeds"}, r"'image_embeds' is no tensor .* are 'logits_per_image', 'logits_per_text'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case: str) -> None:
    options, message = WRONG[case]
    given = {"tokens": TOKENS, "labels": NAMES, **options}
    with pytest.raises(OptionError, match=message):
        with_texts(Source(clip_like()), **given)


def test_models_without_texts_or_without_a_comparison_are_refused() -> None:
    with pytest.raises(ModelError, match=r"inputs 'pixel_values'; one image .* --classes with the texts' embeddings"):
        with_texts(Source(encoder()), TOKENS)
    with pytest.raises(ModelError, match=r"No output depends .*: 'text_embeds', 'image_embeds'"):
        with_texts(Source(clip_like("text_embeds, image_embeds")), TOKENS)
    with pytest.raises(OptionError, match=r"Several outputs depend .*'logits_per_text', 'cosine'\. .*--logits NAME"):
        with_texts(Source(clip_like("logits_per_text, cosine")), TOKENS)


def test_tokens_that_the_text_encoder_cannot_take() -> None:
    with pytest.raises(ModelError, match=r"The text encoder fails on 'input_ids' \(4, 5\)"):
        with_texts(Source(clip_like()), TOKENS | {"input_ids": np.full((4, 5), WORDS + 3)})


def test_what_is_not_linear_is_no_logit() -> None:
    model = clip_like("logits_per_image")
    model.graph.node.append(onnx.helper.make_node("Softmax", ["logits_per_image"], ["shares"]))
    with pytest.raises(ModelError, match=r"'shares' does not depend linearly on the embedding 'normed'.*--logits NAME"):
        with_texts(Source(model), TOKENS, logits="shares")


def test_as_many_texts_as_trial_vectors(tmp_path: Path) -> None:
    """The number of classes cannot be taken for that of images."""
    onnx.save(clip_like(), tmp_path / "clip.onnx")
    tokens = {"input_ids": np.arange(21)[:, None] % WORDS, "attention_mask": np.ones((21, 1), int)}
    with pytest.raises(OptionError, match=r"\(21, 22\) for 22 images and 21 texts"):
        with_texts(from_onnx(tmp_path / "clip.onnx"), tokens, logits="logits_per_text")


def test_a_text_that_meets_the_image_early_is_refused() -> None:
    model = clip_like("logits_per_image")
    model.graph.node.append(onnx.helper.make_node("Identity", ["pooler_output"], ["again"]))
    model.graph.node.append(onnx.helper.make_node("Mul", ["logits_per_image", "again"], ["twice"]))
    with pytest.raises(ModelError, match=r"meet the image in 2 places \('normed', 'pooler_output'\)"):
        with_texts(Source(model), TOKENS, logits="twice")
