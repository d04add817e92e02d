"""Weights outside of the models that use them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from secam_onnx import runtime
from secam_onnx.errors import ModelError
from secam_onnx.graph.weights import as_inputs, read_tensor, without_weights


def external(tensor: TensorProto, folder: Path, padding: int = 64) -> TensorProto:
    """The same tensor, its data in a file."""
    data = numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
    (folder / "w.bin").write_bytes(bytes(padding) + data)
    bare = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    bare.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.bin"), ("offset", padding), ("length", len(data))):
        bare.external_data.add(key=key, value=str(value))
    return bare


@pytest.mark.parametrize(
    "name", ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT4", "UINT8", "INT8", "INT64", "BOOL", "FLOAT8E4M3FN"]
)
def test_numbers_of_every_type_are_those_of_onnx(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, (3, 7))
    tensor = helper.make_tensor("w", TensorProto.DataType.Value(name), [3, 7], values.reshape(-1))
    expected = numpy_helper.to_array(tensor)
    for one in (tensor, external(tensor, tmp_path)):
        found = read_tensor(one, tmp_path)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))


def test_too_little_or_too_much_is_refused(tmp_path: Path) -> None:
    tensor = external(numpy_helper.from_array(np.ones(50, dtype=np.float32), "w"), tmp_path)
    (tmp_path / "w.bin").write_bytes(bytes(100))
    with pytest.raises(ModelError, match=r"'w' cannot be read .*200 bytes.* 36 were read"):
        read_tensor(tensor, tmp_path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"'w' cannot be read .*Put the model's data file beside it"):
        read_tensor(tensor, tmp_path)
    tensor.external_data[2].value = "400"
    (tmp_path / "w.bin").write_bytes(bytes(1000))
    with pytest.raises(ModelError, match="400 bytes are declared"):
        read_tensor(tensor, tmp_path)


@pytest.fixture
def matmul() -> ModelProto:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> '
        "g (float[N, 60] x) => (float[N, 40] z) { y = MatMul (x, w) z = Add (y, b) }"
    )
    chance = np.random.default_rng(0)
    model.graph.initializer.append(numpy_helper.from_array(chance.standard_normal((60, 40)).astype(np.float32), "w"))
    model.graph.initializer.append(numpy_helper.from_array(chance.standard_normal(40).astype(np.float32), "b"))
    return model


@pytest.mark.parametrize("in_file", [True, False])
@pytest.mark.parametrize("prepack", [True, False])
def test_sessions_outlive_the_file_and_the_arrays(
    tmp_path: Path, matmul: ModelProto, in_file: bool, prepack: bool
) -> None:
    inputs = {"x": np.random.default_rng(1).standard_normal((3, 60)).astype(np.float32)}
    (expected,) = runtime.open_session(matmul.SerializeToString(), "cpu").run(None, inputs)
    if in_file:
        matmul.graph.initializer[0].CopyFrom(external(matmul.graph.initializer[0], tmp_path))
    light, weights = without_weights(matmul, tmp_path)
    assert (list(weights.shared), list(weights.copied)) == ((["w"], []) if in_file else ([], ["w"]))
    assert light.ByteSize() < 1000
    session = runtime.open_session(light.SerializeToString(), "cpu", weights=weights, prepack=prepack)
    del weights
    if in_file:
        (tmp_path / "w.bin").write_bytes(b"")
    noise = [np.random.default_rng(seed).standard_normal(2400).astype(np.float32) for seed in range(50)]
    (found,) = session.run(None, inputs)
    assert len(noise) == 50
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# What reads a weight between two Transposes of a picture `(N, 48, 48)`, and whether the session may share that weight.
BETWEEN_TRANSPOSES = {
    "Add": ("z = Add (t, w)", (1, 48, 48), False),
    "Mul, the weight first": ("z = Mul (w, t)", (48, 48), False),
    "Add behind an Identity": ("i = Identity (w) z = Add (t, i)", (1, 48, 48), False),
    "Concat": ("z = Concat <axis = 1> (t, w)", (2, 48, 48), False),
    "Add, and MatMul as well": ("a = Add (t, w) z = MatMul (a, w)", (48, 48), False),
    "both sides of MatMul": ("a = MatMul (w, w) z = Add (t, a)", (48, 48), False),
    "PRelu": ("z = PRelu (t, w)", (48, 48), False),
    "MatMul": ("z = MatMul (t, w)", (48, 48), True),
    "MatMul of a weight with another Transpose": ("i = Transpose (w) z = MatMul (t, i)", (48, 48), False),
    "Gemm": ("f = Flatten <axis = 2> (t) g = Gemm <transB = 1> (f, w) z = Reshape (g, shape)", (48, 48), True),
    "Gather": ("g = Gather <axis = 1> (w, places) z = Add (t, g)", (48, 48), True),
    "Conv": ("z = Conv <kernel_shape = [3], pads = [1, 1]> (t, w)", (48, 48, 3), True),
    "ConvTranspose": ("z = ConvTranspose <kernel_shape = [3], pads = [1, 1]> (t, w)", (48, 48, 3), True),
}


@pytest.mark.parametrize("kind", BETWEEN_TRANSPOSES)
@pytest.mark.parametrize("behind", [True, False], ids=["between", "behind"])
def test_no_weight_is_read_with_its_axes_exchanged(tmp_path: Path, kind: str, behind: bool) -> None:
    """ONNX Runtime pushes a Transpose through some operators by transposing the weight, under the same name."""
    body, shape, shared = BETWEEN_TRANSPOSES[kind]
    end = "y = Transpose <perm = [0, 2, 1]> (z)" if behind else "y = Relu (z)"
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2, 48, 48] x) => (float[A, B, C] y) '
        f"{{ t = Transpose <perm = [0, 2, 1]> (x) {body} {end} }}"
    )
    chance = np.random.default_rng(0)
    weight = numpy_helper.from_array(chance.standard_normal(shape).astype(np.float32), "w")
    others = {"shape": np.array([2, 48, 48]), "places": np.arange(48)[::-1].copy()}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in others.items())
    model.graph.initializer.append(weight)
    inputs = {"x": chance.standard_normal((2, 48, 48)).astype(np.float32)}
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    model.graph.initializer[-1].CopyFrom(external(weight, tmp_path))
    light, weights = without_weights(model, tmp_path)
    session = runtime.open_session(light.SerializeToString(), "cpu", weights=weights)
    np.testing.assert_allclose(session.run(None, inputs)[0], expected, rtol=1e-4, atol=1e-4)
    assert (list(weights.shared), list(weights.copied)) == ((["w"], []) if shared else ([], ["w"]))


def test_weights_as_inputs_give_the_same(matmul: ModelProto) -> None:
    inputs = {"x": np.random.default_rng(1).standard_normal((3, 60)).astype(np.float32)}
    (expected,) = runtime.open_session(matmul.SerializeToString(), "cpu").run(None, inputs)
    light, weights = without_weights(matmul)
    fed = as_inputs(light, weights, ["w"])
    assert not weights
    session = runtime.open_session(light.SerializeToString(), "cpu", weights=weights)
    assert [entry.name for entry in session.get_inputs()] == ["x", "w"]
    (found,) = session.run(None, {**inputs, **fed})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_nobody_reads_is_left_out(matmul: ModelProto) -> None:
    """ONNX Runtime refuses a value for an initializer that it has dropped."""
    matmul.graph.initializer.append(numpy_helper.from_array(np.ones((60, 40), np.float32), "unused"))
    light, weights = without_weights(matmul)
    assert "unused" not in {tensor.name for tensor in light.graph.initializer}
    runtime.open_session(light.SerializeToString(), "cpu", weights=weights)
