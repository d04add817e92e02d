"""A head of class vectors on an encoder: its logits are those that NumPy makes of the untouched encoder's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from encoders import LENGTH, SIDE, clip_like, encoder

from secam_onnx import Explainer, Fusion
from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.export import Source, export_model, from_onnx, with_classes

RANDOM = np.random.default_rng(1)
IMAGES = RANDOM.standard_normal((3, 3, SIDE, SIDE)).astype(np.float32)
VECTORS = RANDOM.standard_normal((4, LENGTH))
NAMES = ("cat", "dog", "bird", "fish")


def run(file: Path | bytes, output: str, **feeds: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run([output], feeds or {"pixel_values": IMAGES})[0]


def expected(embeddings: np.ndarray, vectors: np.ndarray, scale: float, bias: Any, normalise: bool) -> np.ndarray:
    e, v = embeddings.astype(np.float64), vectors.astype(np.float64)
    if normalise:
        e, v = (x / np.sqrt((x * x).sum(axis=1, keepdims=True)) for x in (e, v))
    return scale * (e @ v.T) + bias


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 18, 20])
@pytest.mark.parametrize(
    ("scale", "bias", "normalise"), [(1.0, 0.0, False), (100.0, -10.0, True), (3.0, [1, 2, 3, 4], True)]
)
def test_logits_in_plain_onnx_runtime(tmp_path: Path, opset: int, scale: float, bias: Any, normalise: bool) -> None:
    onnx.save(encoder(opset=opset), tmp_path / "encoder.onnx")
    source = with_classes(
        from_onnx(tmp_path / "encoder.onnx"), VECTORS, NAMES, scale=scale, bias=bias, normalise=normalise
    )
    metadata = export_model(source, tmp_path / "classes.onnx")
    onnx.checker.check_model(tmp_path / "classes.onnx", full_check=True)
    embeddings = run(tmp_path / "encoder.onnx", "image_embeds")
    wanted = expected(embeddings, VECTORS, scale, bias, normalise)
    np.testing.assert_allclose(run(tmp_path / "classes.onnx", "logits"), wanted, rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_array_equal(run(tmp_path / "classes.onnx", "image_embeds"), embeddings)
    assert onnx.load(tmp_path / "classes.onnx").graph.output[0].name == "logits"
    assert metadata.labels == NAMES
    assert metadata.logits == "logits"
    assert metadata == ModelMetadata.of(onnx.load(tmp_path / "classes.onnx"))
    assert ("cosine" if normalise else "dot product") in metadata.origin["classes"]
    assert "'image_embeds'" in metadata.origin["classes"]


def test_an_encoder_in_half_precision(tmp_path: Path) -> None:
    onnx.save(encoder(dtype="float16"), tmp_path / "encoder.onnx")
    images = IMAGES.astype(np.float16)
    embeddings = run(tmp_path / "encoder.onnx", "image_embeds", pixel_values=images)
    source = with_classes(from_onnx(tmp_path / "encoder.onnx"), VECTORS, scale=100.0, normalise=True)
    export_model(source, tmp_path / "classes.onnx")
    found = run(tmp_path / "classes.onnx", "logits", pixel_values=images)
    assert found.dtype == np.float32
    # ONNX Runtime computes in float32 on the CPU, and leaves out the rounding before the cast.
    np.testing.assert_allclose(found, expected(embeddings, VECTORS, 100.0, 0, normalise=True), atol=100 * 2.0**-11)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, ">f4", ml_dtypes.bfloat16])
def test_vectors_of_any_numbers(dtype: Any) -> None:
    vectors = np.asfortranarray((VECTORS * 10).astype(dtype))
    source = with_classes(Source(encoder()), vectors)
    wanted = expected(run(encoder().SerializeToString(), "image_embeds"), vectors, 1, 0, normalise=False)
    np.testing.assert_allclose(run(source.model.SerializeToString(), "logits"), wanted, rtol=1e-5, atol=1e-4)
    assert source.labels == ("class 0", "class 1", "class 2", "class 3")
    assert source.origin["labels"] == "numbered, since none were given"


def test_a_file_of_2018_whose_weights_are_inputs(tmp_path: Path) -> None:
    model = encoder(opset=9)
    model.ir_version = 3
    weights = [onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer]
    model.graph.input.extend(weights)
    onnx.save(model, tmp_path / "encoder.onnx")
    onnx.checker.check_model(tmp_path / "encoder.onnx", full_check=True)
    source = with_classes(from_onnx(tmp_path / "encoder.onnx"), VECTORS, scale=3.0, normalise=True)
    export_model(source, tmp_path / "out.onnx")
    onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)
    wanted = expected(run(tmp_path / "encoder.onnx", "image_embeds"), VECTORS, 3.0, 0, normalise=True)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", "logits"), wanted, rtol=1e-4, atol=1e-5)


def test_one_vector_is_one_class(tmp_path: Path, chelsea: np.ndarray) -> None:
    metadata = export_model(with_classes(Source(encoder()), VECTORS[0], ["cat"]), tmp_path / "cat.onnx")
    explanation = Explainer(tmp_path / "cat.onnx").explain(chelsea)
    assert [entry.label for entry in explanation.classes] == ["cat"]
    assert "none" in metadata.probability_note


def test_maps_add_up_to_the_dot_product(tmp_path: Path, chelsea: np.ndarray) -> None:
    export_model(with_classes(Source(encoder()), VECTORS, NAMES, bias=2.5), tmp_path / "classes.onnx")
    explanation = Explainer(tmp_path / "classes.onnx").explain(chelsea, "all")
    assert explanation.completeness_error < 1e-5
    assert sorted(entry.label for entry in explanation.classes) == sorted(NAMES)


def test_an_embedding_of_zero_gives_no_nan() -> None:
    model = encoder()
    source = with_classes(Source(model), VECTORS, scale=5.0, normalise=True, bias=0.5)
    black = run(source.model.SerializeToString(), "logits", pixel_values=np.zeros_like(IMAGES))
    np.testing.assert_array_equal(black, np.full((3, 4), 0.5, np.float32))


def test_a_pooled_map_of_one_cell_is_an_embedding() -> None:
    source = with_classes(Source(encoder(output="pooler_output")), VECTORS[:, :6])
    pooled = run(encoder(output="pooler_output").SerializeToString(), "pooler_output")
    assert pooled.shape == (3, 6, 1, 1)
    wanted = pooled.reshape(3, 6) @ VECTORS[:, :6].T
    np.testing.assert_allclose(run(source.model.SerializeToString(), "logits"), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize(("output", "pool"), [("tokens", "class"), ("tokens", "mean"), ("map", "mean")])
def test_tokens_and_maps_are_pooled(tmp_path: Path, opset: int, output: str, pool: str) -> None:
    onnx.save(encoder(output=output, opset=opset), tmp_path / "encoder.onnx")
    source = with_classes(from_onnx(tmp_path / "encoder.onnx"), VECTORS[:, :6], pool=pool, normalise=True)
    metadata = export_model(source, tmp_path / "out.onnx")
    raw = run(tmp_path / "encoder.onnx", output)
    vectors = raw[:, 0] if pool == "class" else raw.reshape(3, 6, -1).mean(2) if output == "map" else raw.mean(1)
    wanted = expected(vectors, VECTORS[:, :6], 1, 0, normalise=True)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", "logits"), wanted, rtol=1e-4, atol=1e-5)
    assert {"class": "the class token of 'tokens'", "mean": "the mean of "}[pool] in metadata.origin["classes"]


def test_of_several_outputs_the_one_of_that_length_or_name() -> None:
    def chosen(length: int, further: str = "pooler_output", **options: str) -> str:
        model = encoder(output="map", further=f"image_embeds,{further}")
        return with_classes(Source(model), np.ones((2, length)), **options).origin["classes"].rpartition("on ")[2]

    assert chosen(LENGTH) == "'image_embeds'"
    assert chosen(6) == "'pooler_output'"
    assert chosen(6, further="flat,pooler_output") == "'pooler_output'"
    assert chosen(6, embedding="flat") == "'flat'"
    model = encoder(output="flat", further="other")
    model.graph.node.append(onnx.helper.make_node("Identity", ["flat"], ["other"]))
    with pytest.raises(OptionError, match=r"'flat' \(\?, 6\), 'other' .*--embedding NAME"):
        with_classes(Source(model), np.ones((2, 6)))


def test_names_that_the_encoder_has_already() -> None:
    model = encoder(further="logits")
    for name in ("logits", "classes_Gemm"):
        model.graph.node.append(onnx.helper.make_node("Identity", ["map"], [name], name=f"{name}_"))
    source = with_classes(Source(model), VECTORS)
    onnx.checker.check_model(source.model, full_check=True)
    assert source.logits == "logits_2"
    assert run(source.model.SerializeToString(), "logits_2").shape == (3, 4)


class Unconvertible:
    """As a tensor of PyTorch that requires gradients."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("it has gradients")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "three axes": ({"vectors": np.ones((2, 3, LENGTH))}, r"shape \(2, 3, 12\); \(classes, D\).*expected"),
    "none": ({"vectors": np.ones((0, LENGTH))}, r"shape \(0, 12\)"),
    "rows of different lengths": ({"vectors": [[1.0, 2.0], [1.0]]}, r"cannot be read as an array"),
    "what NumPy cannot take": ({"vectors": Unconvertible()}, r"cannot be read as an array \(it has gradients\)"),
    "text": ({"vectors": np.array([["a"]])}, r"type <U1; numbers"),
    "complex": ({"vectors": np.ones((2, LENGTH), complex)}, r"complex128; numbers"),
    "nan": ({"vectors": np.where(np.arange(48).reshape(4, 12) == 30, np.nan, 1.0)}, r"nan was found in row 2; finite"),
    "infinite": ({"vectors": np.full((2, LENGTH), np.inf)}, r"inf was found in row 0"),
    "zero": ({"vectors": np.eye(4, LENGTH) * [[1], [1], [0], [1]], "normalise": True}, r"row 2 \('bird'\) is zero"),
    "labels": ({"labels": ["a", "b"]}, r"2 labels for 4 class vectors \(4, 12\)"),
    "length": ({"vectors": np.ones((4, 7))}, r"7 numbers each, but the embedding has 12: 'image_embeds' \(\?, 12\)"),
    "transposed": ({"vectors": np.ones((LENGTH, 4)), "labels": None}, r"transposed: \(classes, D\) was .*\(12, 4\)"),
    "scale": ({"scale": 0.0}, r"scale is 0\.0; a finite number above 0"),
    "scale nan": ({"scale": float("nan")}, r"scale is nan"),
    "bias": ({"bias": [1.0, 2.0]}, r"bias has the shape \(2,\); one number, or one for each class"),
    "bias nan": ({"bias": float("nan")}, r"bias: nan was found"),
    "huge": ({"vectors": np.full((4, LENGTH), 1e29), "scale": 100.0}, r"beyond 1e\+30"),
    "unknown tensor": ({"embedding": "nothing"}, r"no tensor 'nothing' .* outputs are 'image_embeds'"),
    "pool of a vector": ({"pool": "class"}, r"No embedding \(N, tokens, D\) with a class token .*Leave --pool out"),
    "unknown pool": ({"pool": "max"}, r"pool is 'max'; class or mean was expected"),
    "map as embedding": ({"embedding": "map"}, r"No embedding .* 'map' \(\?, 6, 8, 8\).*--pool"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case: str) -> None:
    options, message = WRONG[case]
    given = {"vectors": VECTORS, "labels": NAMES, **options}
    with pytest.raises(OptionError, match=message):
        with_classes(Source(encoder()), **given)


def test_an_encoder_without_an_embedding_is_refused() -> None:
    with pytest.raises(ModelError, match=r"No embedding \(N, D\), one .*'map' \(\?, 6, 8, 8\).*--embedding NAME"):
        with_classes(Source(encoder(output="map")), VECTORS)


def test_fused(tmp_path: Path, chelsea: np.ndarray) -> None:
    onnx.save(encoder(opset=13), tmp_path / "encoder.onnx")
    source = with_classes(from_onnx(tmp_path / "encoder.onnx"), VECTORS, NAMES, normalise=True, scale=10.0)
    export_model(source, tmp_path / "fused.onnx", fusion=Fusion())
    source = with_classes(from_onnx(tmp_path / "encoder.onnx"), VECTORS, NAMES, normalise=True, scale=10.0)
    export_model(source, tmp_path / "plain.onnx")
    one, other = (Explainer(tmp_path / name).explain(chelsea, "all") for name in ("fused.onnx", "plain.onnx"))
    for here, there in zip(one.classes, other.classes, strict=True):
        assert here.label == there.label
        assert abs(here.logit - there.logit) < 1e-4 * abs(there.logit)


def test_preprocessing_beside_an_encoder_is_read(tmp_path: Path) -> None:
    for name, model in (("encoder.onnx", encoder()), ("clip.onnx", clip_like())):
        folder = tmp_path / name
        folder.mkdir()
        onnx.save(model, folder / name)
        (folder / "preprocessor_config.json").write_text(
            '{"do_resize": true, "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_normalize'
            '": true, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "resample": 3, "do_rescale": true}'
        )
        metadata = export_model(with_classes(from_onnx(folder / name), VECTORS, NAMES), tmp_path / f"{name}.out")
        np.testing.assert_allclose(metadata.preprocessing.mean, np.array([0.5, 0.4, 0.3]) * 255, rtol=1e-6)
        assert metadata.labels == NAMES


def test_the_image_encoder_of_a_file_that_holds_text_too(tmp_path: Path, chelsea: np.ndarray) -> None:
    onnx.save(clip_like(), tmp_path / "clip.onnx")
    metadata = export_model(
        with_classes(from_onnx(tmp_path / "clip.onnx"), VECTORS, NAMES, scale=100.0, normalise=True),
        tmp_path / "classes.onnx",
    )
    tokens = {name: np.ones((1, 2), np.int64) for name in ("input_ids", "attention_mask")}
    embeddings = run(tmp_path / "clip.onnx", "image_embeds", pixel_values=IMAGES, **tokens)
    wanted = expected(embeddings, VECTORS, 100.0, 0, normalise=True)
    np.testing.assert_allclose(run(tmp_path / "classes.onnx", "logits"), wanted, rtol=1e-5, atol=1e-4)
    model = onnx.load(tmp_path / "classes.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["pixel_values"]
    assert not {"table", "log_scale"} & {tensor.name for tensor in model.graph.initializer}
    assert metadata.labels == NAMES


def test_a_tensor_that_needs_the_text_as_well_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'cosine' needs 'attention_mask', 'input_ids' besides the image"):
        with_classes(Source(clip_like()), VECTORS, embedding="cosine")


def test_a_file_with_only_joint_outputs_is_taken_at_its_last_tensor_of_the_image() -> None:
    source = with_classes(Source(clip_like("logits_per_image")), VECTORS)
    tokens = {name: np.ones((1, 2), np.int64) for name in ("input_ids", "attention_mask")}
    model = clip_like("logits_per_image, normed").SerializeToString()
    wanted = run(model, "normed", pixel_values=IMAGES, **tokens) @ VECTORS.T
    np.testing.assert_allclose(run(source.model.SerializeToString(), "logits"), wanted, rtol=1e-4, atol=1e-5)


def test_a_file_with_text_inputs_says_how_to_get_the_image_encoder(tmp_path: Path) -> None:
    """The advice works as it stands."""
    onnx.save(clip_like(), tmp_path / "MODEL.onnx")
    with pytest.raises(ModelError, match=r"3 inputs .*one image input was expected\.") as raised:
        Explainer(tmp_path / "MODEL.onnx")
    text = str(raised.value)
    assert "'image_embeds' (?, 12) needs 'pixel_values' alone" in text
    call = text[text.index("onnx.utils.extract_model(") : text.index("). If") + 1]
    inside = call.replace("'MODEL", f"'{tmp_path}/MODEL").replace("'image_encoder", f"'{tmp_path}/image_encoder")
    eval(inside)
    tokens = {name: np.ones((1, 2), np.int64) for name in ("input_ids", "attention_mask")}
    wanted = run(tmp_path / "MODEL.onnx", "image_embeds", pixel_values=IMAGES, **tokens)
    np.testing.assert_array_equal(run(tmp_path / "image_encoder.onnx", "image_embeds"), wanted)


def test_an_encoder_that_is_explained_as_it_is_says_what_it_lacks(tmp_path: Path) -> None:
    onnx.save(encoder(), tmp_path / "encoder.onnx")
    explainer = Explainer(tmp_path / "encoder.onnx")
    assert "'image_embeds' is named as embeddings are" in explainer.classifier.metadata.origin["labels"]


def test_new_classes_take_the_place_of_others(tmp_path: Path, chelsea: np.ndarray) -> None:
    export_model(with_classes(Source(encoder()), VECTORS, NAMES), tmp_path / "one.onnx")
    export_model(with_classes(from_onnx(tmp_path / "one.onnx"), VECTORS[2:], NAMES[2:]), tmp_path / "two.onnx")
    one, two = (Explainer(tmp_path / name).explain(chelsea, "all").classes for name in ("one.onnx", "two.onnx"))
    logits = {entry.label: entry.logit for entry in one}
    assert {entry.label for entry in two} == {"bird", "fish"}
    assert all(abs(entry.logit - logits[entry.label]) < 1e-4 for entry in two)


def test_inputs_without_number_are_not_looked_into() -> None:
    model = clip_like()
    more = [onnx.helper.make_tensor_value_info(f"i{index}", onnx.TensorProto.FLOAT, [1]) for index in range(100)]
    model.graph.input.extend(more)
    with pytest.raises(ModelError, match=r"one image \(N, C, H, W\) was expected among them"):
        with_classes(Source(model), VECTORS)


def test_an_encoder_that_onnx_runtime_cannot_run_is_refused_in_words(tmp_path: Path) -> None:
    onnx.save(encoder(dtype="bfloat16"), tmp_path / "encoder.onnx")
    with pytest.raises(ModelError, match=r"bfloat16"):
        export_model(with_classes(from_onnx(tmp_path / "encoder.onnx"), VECTORS), tmp_path / "out.onnx")


@pytest.mark.full
def test_a_residual_network_without_its_last_layer(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    from secam_onnx.export.pytorch import to_onnx

    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None)
    network.fc = torch.nn.Identity()
    model = to_onnx(network.eval(), (64, 64))
    probe = torch.randn(5, 512)
    probe_bias = torch.randn(5)
    metadata = export_model(with_classes(Source(model), probe, bias=probe_bias), tmp_path / "out.onnx")
    images = RANDOM.standard_normal((2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        wanted = torch.nn.functional.linear(network(torch.from_numpy(images)), probe, probe_bias)
    found = run(tmp_path / "out.onnx", metadata.logits, image=images)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)
    assert metadata.head.kind == "gap + fc"


@pytest.mark.slow
def test_a_network_of_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from secam_onnx.export.pytorch import to_onnx

    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0)

    class Encoder(torch.nn.Module):
        """Patches, a block of attention, and the mean of the tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.patches, self.block = torch.nn.Conv2d(3, 16, 8, 8), layer
            self.project = torch.nn.Linear(16, LENGTH)

        def forward(self, image):  # type: ignore[no-untyped-def]
            return self.project(self.block(self.patches(image).flatten(2).transpose(1, 2)).mean(1))

    network = Encoder().eval()
    vectors = torch.randn(4, LENGTH)
    source = with_classes(Source(to_onnx(network, (SIDE, SIDE))), vectors, NAMES, scale=20.0, normalise=True)
    export_model(source, tmp_path / "out.onnx")
    with torch.no_grad():
        e = network(torch.from_numpy(IMAGES))
        wanted = 20 * torch.nn.functional.cosine_similarity(e[:, None], vectors[None], dim=2)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", source.logits, image=IMAGES), wanted, rtol=1e-4, atol=1e-4)
