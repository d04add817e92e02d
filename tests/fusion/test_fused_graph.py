"""Fused models against the explainer, and against onnx's own checker, for every kind of head and of file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_models
from onnx import ModelProto
from variants import VARIANTS, Variant

from secam_onnx import Explainer, Fusion, Segmenter, Selection, fuse
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.explanation.overlays import kept_overlay
from secam_onnx.photograph.preprocessing import Preprocessing

SIZE = (32, 32)
SETTINGS = Preprocessing(SIZE)  # which leaves pictures of that size as they are
ALL = np.arange(7)[None]


def fused(model: ModelProto | Path, folder: Path, fusion: Fusion | None = None, **options: object) -> Path:
    source, target = folder / "source.onnx", folder / "fused.onnx"
    if isinstance(model, ModelProto):
        onnx.save(model, source)
        model = source
    fuse(model, target, fusion, **{"preprocessing": SETTINGS, **options})  # type: ignore[arg-type]
    return target


def run(path: Path, image: np.ndarray, classes: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All outputs, by a session of ONNX Runtime with its own settings."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {"image": image} | ({} if classes is None else {"classes": classes})
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def compare(found: dict[str, np.ndarray], source: Path, seen: np.ndarray, tolerance: float, **options: object) -> None:
    """All numbers of some pictures, for all seven classes, are the explainer's of the model that it was made of."""
    explainer = Explainer(source, providers="cpu", preprocessing=SETTINGS, **options)  # type: ignore[arg-type]
    for row, picture in enumerate(seen):
        expected = explainer.explain(picture, "all")
        there = len(expected.segment_scores[0])
        assert found["n_segments"][row] == there
        np.testing.assert_array_equal(found["segments"][row], expected.segments)
        for name, values in {
            "segment_scores": expected.segment_scores,
            "segment_contributions": expected.segment_contributions,
            "cam": expected.cam,
            "bias": expected.bias,
            "class_logits": np.array([entry.logit for entry in expected.classes]),
        }.items():
            ours = found[name][row]
            ours, rest = (ours[:, :there], ours[:, there:]) if name.startswith("segment_") else (ours, np.zeros(1))
            assert not rest.any(), name
            assert np.abs(ours - values).max() <= tolerance * max(np.abs(expected.cam).max(), np.abs(values).max()), (
                name
            )
        shares = [entry.probability for entry in expected.classes]
        np.testing.assert_allclose(found["class_probabilities"][row], shares, atol=tolerance)
        if "overlay" in found and tolerance < 1e-4 and np.ptp(picture) > 0:  # else all superpixels score the same
            for k in range(7):
                keep = Selection().keep(expected.segment_scores[k], expected.segment_contributions[k])
                np.testing.assert_array_equal(found["overlay"][row, k], kept_overlay(picture, expected.segments, keep))


@pytest.fixture(scope="module")
def seen(chelsea: np.ndarray) -> np.ndarray:
    """Three pictures at the model's size; the last one is of one colour."""
    return np.stack([chelsea[60:92, 100:132], chelsea[150:182, 200:232], np.full((*SIZE, 3), 90, np.uint8)])


@pytest.mark.parametrize("head", tiny_models.HEADS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_says_what_the_explainer_says(name: str, head: str, tmp_path: Path, seen: np.ndarray) -> None:
    variant: Variant = VARIANTS[name]
    model = tiny_models.classifier(head, layers=2, channels=8)
    changed = variant.change(model, tmp_path)
    source = tmp_path / "model.onnx"
    if changed is not None or not source.exists():
        onnx.save(changed or model, source)
    path = fused(source, tmp_path)
    onnx.checker.check_model(path, full_check=True)
    fixed = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value
    # Where scales are chosen in the run, they are chosen for a whole batch.
    fixed = 1 if "dynamic" in name else fixed
    pictures = seen[:fixed] if fixed else seen
    pictures = np.resize(pictures, (fixed or 3, *pictures.shape[1:]))
    # Arithmetic in float16 and in 8 bits rounds to another side where numbers come in another order.
    compare(run(path, pictures, ALL), source, pictures, 5e-3 if "float16" in name or "int8" in name else 1e-5)


SMOOTH = """<ir_version: 10, opset_import: ["": 18]>
agraph (float[N, 3, 32, 32] image) => (float[N, 7] logits) {
    c = Conv <strides = [4, 4]> (image, w)
    f = Relu (c)
    p = GlobalAveragePool (f)
    q = Flatten (p)
    s = HardSwish (q)
    logits = Gemm <transB = 1> (s, v)
}"""


def smooth() -> ModelProto:
    random = np.random.default_rng(0)
    model = onnx.parser.parse_model(SMOOTH)
    for name, shape in {"w": (6, 3, 4, 4), "v": (7, 6)}.items():
        value = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return model


CLASS_TOKEN = """<ir_version: 10, opset_import: ["": 18]>
agraph (float[N, 3, 32, 32] image) => (float[N, 7] logits) {
    c = Conv <strides = [8, 8]> (image, w)
    r = Reshape (c, rows)
    t = Transpose <perm = [0, 2, 1]> (r)
    n = Shape <start = 0, end = 1> (t)
    s = Concat <axis = 0> (n, one)
    k = Expand (token, s)
    x = Concat <axis = 1> (k, t)
    u = Transpose <perm = [0, 2, 1]> (x)
    a = MatMul (x, u)
    p = Softmax <axis = -1> (a)
    m = MatMul (p, x)
    y = LayerNormalization <axis = -1> (m, scale)
    f = Gather <axis = 1> (y, zero)
    logits = Gemm <transB = 1> (f, v)
}"""


def test_tokens_without_position_are_kept(tmp_path: Path, seen: np.ndarray) -> None:
    random = np.random.default_rng(0)
    model = onnx.parser.parse_model(CLASS_TOKEN)
    shapes = {"w": (8, 3, 8, 8), "token": (1, 1, 8), "scale": (8,), "v": (7, 8)}
    values = {name: random.standard_normal(shape).astype(np.float32) / 8 for name, shape in shapes.items()}
    for name, value in {**values, "rows": np.array([0, 8, 16]), "one": np.array([1, 8]), "zero": np.array(0)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    path = fused(model, tmp_path)
    compare(run(path, seen, ALL), tmp_path / "source.onnx", seen, 1e-5)


@pytest.mark.parametrize("attribution", [None, "gradient", "integrated", "masking"])
def test_every_way_to_a_map(attribution: str | None, tmp_path: Path, seen: np.ndarray) -> None:
    path = fused(smooth(), tmp_path, Fusion(attribution=attribution))
    compare(run(path, seen, ALL), tmp_path / "source.onnx", seen, 1e-5, attribution=attribution)


@pytest.mark.parametrize("head", ["gap+fc", "mlp", "gap+sin+fc"])
def test_a_batch_of_eight_is_eight_singles(head: str, tmp_path: Path, chelsea: np.ndarray) -> None:
    path = fused(tiny_models.classifier(head), tmp_path)
    images = np.stack([chelsea[y : y + 32, y : y + 32] for y in range(0, 240, 30)])
    together = run(path, images, np.array([[-1, 3]]))
    for row, image in enumerate(images):
        alone = run(path, image[None], np.array([[-1, 3]]))
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][row], values[0], rtol=1e-5, atol=1e-5, err_msg=name)
            if name in ("segments", "class_ids", "n_segments"):
                np.testing.assert_array_equal(together[name][row], values[0])


def test_classes_for_each_picture_or_for_all(tmp_path: Path, seen: np.ndarray) -> None:
    path = fused(tiny_models.classifier(), tmp_path, Fusion(top_k=2))
    each = run(path, seen, np.array([[0, 5], [6, 1], [-1, -7]]))
    assert each["class_ids"][:2].tolist() == [[0, 5], [6, 1]]
    order = np.argsort(-each["logits"], axis=1, kind="stable")
    assert each["class_ids"][2].tolist() == [order[2, 0], order[2, 6]]
    assert run(path, seen)["class_ids"].tolist() == order[:, :2].tolist()


def test_contributions_and_bias_are_the_logit(tmp_path: Path, seen: np.ndarray) -> None:
    found = run(fused(tiny_models.classifier("mlp"), tmp_path), seen, ALL)
    total = found["segment_contributions"].sum(axis=2) + found["bias"]
    np.testing.assert_allclose(total, found["logits"], atol=1e-5)


def test_a_model_that_only_gives_probabilities(tmp_path: Path, seen: np.ndarray) -> None:
    """Its output is called like one of ours."""
    source = tmp_path / "source.onnx"
    model = tiny_models.classifier(softmax=True)
    onnx.save(tiny_models.renamed(model, {"probabilities": "class_probabilities"}), source)
    path = fused(source, tmp_path)
    found = run(path, seen, ALL)
    np.testing.assert_allclose(found["model_class_probabilities"], found["class_probabilities"], atol=1e-6)
    np.testing.assert_array_equal(found["secam_logits"], found["class_logits"])
    compare(found, source, seen, 1e-5)


def test_names_that_are_ours_may_be_the_models(tmp_path: Path, seen: np.ndarray) -> None:
    names = {
        "image": "segments",
        "conv0": "image",
        "feature_map": "overlay",
        "pooled": "classes",
        "flat": "model_image",
        "logits.weight": "bias",
        "logits.bias": "cam",
        "logits": "class_ids",
    }
    model = tiny_models.renamed(tiny_models.classifier(), names)
    source = tmp_path / "source.onnx"
    onnx.save(model, source)
    path = fused(source, tmp_path)
    found = run(path, seen, ALL)
    assert (found["class_ids"] == ALL).all()
    np.testing.assert_array_equal(found["model_class_ids"], found["class_logits"])
    compare(found, source, seen, 1e-5)


def test_what_else_the_model_gives_and_says(tmp_path: Path, seen: np.ndarray) -> None:
    """A weight as an output, and somebody's metadata."""
    model = tiny_models.classifier()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(2.5), "cam"))
    for name, shape in {"cam": [], "logits.bias": [7]}.items():
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    model.metadata_props.add(key="license", value="MIT")
    path = fused(model, tmp_path)
    found = run(path, seen, ALL)
    assert found["model_cam"] == 2.5
    np.testing.assert_array_equal(found["logits.bias"], onnx.numpy_helper.to_array(model.graph.initializer[2]))
    assert {entry.key: entry.value for entry in onnx.load(path).metadata_props}["license"] == "MIT"
    compare(found, tmp_path / "source.onnx", seen, 1e-5)


@pytest.mark.parametrize("opset", [11, 17, 18])
def test_what_a_model_says_of_itself_stays(opset: int, tmp_path: Path, seen: np.ndarray) -> None:
    """Below opset 18 it goes through onnx's converter first, which keeps some of that."""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}, "own": 1, "com.microsoft": 1], domain: "org.example", '
        'doc_string: "cats and dogs", model_version: 7> '
        "agraph (float[N, 3, 32, 32] image) => (float[N, 7] logits) {"
        "c = Conv <strides = [4, 4]> (image, w) f = own.Twice (c) g = com.microsoft.Gelu (f) "
        "p = GlobalAveragePool (g) v = Flatten (p) logits = MatMul (v, m) }"
        f'<domain: "own", opset_import: ["": {opset}]> Twice (x) => (y) {{ y = Add (x, x) }}'
    )
    chance = np.random.default_rng(0)
    for name, shape in {"w": (8, 3, 4, 4), "m": (8, 7)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(chance.normal(size=shape).astype(np.float32), name))
    said = {"names": "{0: 'cat', 1: 'dog'}", "license": "MIT"}
    onnx.helper.set_model_props(model, said)
    made = onnx.load(fused(model, tmp_path))
    assert {entry.key: entry.value for entry in made.metadata_props if entry.key != "secam_onnx"} == said
    assert (made.doc_string, made.domain, made.model_version) == ("cats and dogs", "org.example", 7)
    assert {entry.domain: entry.version for entry in made.opset_import}["com.microsoft"] == 1
    compare(run(tmp_path / "fused.onnx", seen, ALL), tmp_path / "source.onnx", seen, 1e-5)


def test_the_default_model(photo: Path, tmp_path: Path, explainer: Explainer) -> None:
    path = tmp_path / "fused.onnx"
    metadata = fuse(explainer.model, path)
    assert metadata.fused is not None
    assert metadata.fused.agreement["max_relative_difference"] < 1e-5
    assert path.stat().st_size < 1.01 * explainer.model.stat().st_size
    model = onnx.load(path)
    onnx.checker.check_model(path, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", metadata.fused.opset)]
    assert {node.domain for node in model.graph.node} == {""}
    for tensors, said in ((model.graph.input, metadata.fused.inputs), (model.graph.output, metadata.fused.outputs)):
        there = {value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
                 for value in tensors}  # fmt: skip
        assert {name: there[name] for name in said} == {name: shape for name, (_, shape) in said.items()}
    expected = explainer.explain(photo, "top-3")
    seen, _ = explainer.preprocessing.crop(expected.image)
    found = run(path, seen[None], np.array([[-1, -2, -3]]))
    assert found["class_ids"][0].tolist() == [entry.index for entry in expected.classes]
    np.testing.assert_array_equal(found["segments"][0], expected.segments)
    np.testing.assert_allclose(found["segment_contributions"][0], expected.segment_contributions, atol=1e-5)


@pytest.mark.parametrize("segments", [12, 150])
def test_other_superpixels(segments: int, tmp_path: Path, seen: np.ndarray) -> None:
    segmenter = Segmenter("kmeans", segments, 30.0)
    path = fused(tiny_models.classifier(), tmp_path, Fusion(segmenter, overlay=False))
    found = run(path, seen, ALL)
    assert "overlay" not in found
    compare(found, tmp_path / "source.onnx", seen, 1e-5, segmenter=segmenter)


def test_without_a_default_classes_must_be_given(tmp_path: Path, seen: np.ndarray) -> None:
    path = fused(tiny_models.classifier(), tmp_path, Fusion(default_classes=False))
    assert run(path, seen, np.array([[-1]]))["class_ids"].shape == (3, 1)
    with pytest.raises(Exception, match="classes"):
        run(path, seen)


def test_weights_of_16_bits_are_half_the_file(tmp_path: Path, seen: np.ndarray) -> None:
    model = tiny_models.classifier("mlp", channels=400, layers=2)
    source = tmp_path / "source.onnx"
    onnx.save(model, source)
    path = fused(source, tmp_path, Fusion(float16=True))
    assert path.stat().st_size < 0.51 * source.stat().st_size + 100_000
    compare(run(path, seen, ALL), source, seen, 5e-3)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"segmenter": Segmenter("slic")}, "'slic' cannot go into a fused model"),
        ({"top_k": 0}, "top_k is 0; 1 to 100"),
        ({"top_k": 101}, "top_k is 101"),
    ],
)
def test_what_cannot_go_in(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        Fusion(**settings)  # type: ignore[arg-type]


def test_more_classes_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="top_k is 8, but the model has 7 classes"):
        fused(tiny_models.classifier(), tmp_path, Fusion(top_k=8))
    assert not (tmp_path / "fused.onnx").exists()


OLD = """<ir_version: 5, opset_import: ["": 10]>
agraph (float[N, 3, 32, 32] image) => (float[N, 7] logits) {
    c = Conv <strides = [4, 4]> (image, w)
    f = CHANGED
    p = GlobalAveragePool (f)
    q = Flatten (p)
    logits = Gemm <transB = 1> (q, v, b)
}"""


def old(changed: str) -> ModelProto:
    random = np.random.default_rng(0)
    model = onnx.parser.parse_model(OLD.replace("CHANGED", changed))
    for name, shape in {"w": (6, 3, 4, 4), "v": (7, 6), "b": (7,)}.items():
        value = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    if "scales" in changed:
        scales = np.array([1, 1, 1.7, 1.3], np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(scales, "scales"))
    return model


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_old_opsets_resize_as_before(mode: str, tmp_path: Path, seen: np.ndarray) -> None:
    path = fused(old(f'Resize <mode = "{mode}"> (c, scales)'), tmp_path)
    compare(run(path, seen, ALL), tmp_path / "source.onnx", seen, 1e-5)


def test_a_newer_opset_that_changes_what_the_model_says(tmp_path: Path) -> None:
    """Hardmax took all axes from one on; onnx forgets about that."""
    with pytest.raises(
        ModelError, match=r"output 'logits' is .* gives .* onnx changed it .* Export the model with opset 18"
    ):
        fused(old("Hardmax <axis = 1> (c)"), tmp_path)
    assert not (tmp_path / "fused.onnx").exists()


def test_an_opset_that_cannot_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(model: ModelProto, version: int) -> ModelProto:
        raise RuntimeError("no adapter for Upsample")

    monkeypatch.setattr(onnx.version_converter, "convert_version", fails)
    model = tiny_models.classifier()
    model.opset_import[0].version = 13
    with pytest.raises(ModelError, match=r"from opset 13 to 18 \(no adapter for Upsample\)\. Export .* opset 18"):
        fused(model, tmp_path)
    assert not (tmp_path / "fused.onnx").exists()
