"""config.pbtxt, read by Triton's own protobuf classes and compared with what the model has."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from secam_onnx import Fusion, fuse
from secam_onnx.default_model import default_model
from secam_onnx.errors import OptionError
from secam_onnx.export.triton_config import triton_config
from secam_onnx.serve.request.parameters import OUTPUTS

if find_spec("kserve"):
    pytest.skip("KServe's classes of the protocol and tritonclient's cannot be in one process", allow_module_level=True)
model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
text_format = pytest.importorskip("google.protobuf.text_format")

NUMPY = {"UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32}


@pytest.fixture(scope="session")
def deploy() -> Path:
    return Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fused") / "model.onnx"
    fuse(default_model(), path)
    return path


def parsed(text: str):
    return text_format.Parse(text, model_config.ModelConfig())


def tensors(entries) -> dict[str, tuple[str, list[int]]]:
    return {entry.name: (model_config.DataType.Name(entry.data_type)[5:], list(entry.dims)) for entry in entries}


def test_the_committed_file_is_what_is_written_for_the_default_model(deploy: Path, fused: Path) -> None:
    assert parsed((deploy / "triton/secam_fused/config.pbtxt").read_text()) == parsed(triton_config(fused))


def test_a_run_gives_what_the_config_says(deploy: Path, fused: Path, chelsea: np.ndarray) -> None:
    described = parsed((deploy / "triton/secam_fused/config.pbtxt").read_text())
    inputs, outputs = tensors(described.input), tensors(described.output)
    assert inputs == {"image": ("UINT8", [-1, 224, 224, 3]), "classes": ("INT64", [-1, -1])}
    assert [entry.optional for entry in described.input] == [False, True]
    session = onnxruntime.InferenceSession(fused)
    picture = np.ascontiguousarray(chelsea[:224, :224])[None]
    values = session.run(list(outputs), {"image": np.repeat(picture, 2, 0), "classes": np.array([[-1, 7, 8]])})
    for (kind, dims), value in zip(outputs.values(), values, strict=True):
        assert value.dtype == NUMPY[kind]
        assert len(value.shape) == len(dims)
        assert all(length in (-1, found) for length, found in zip(dims, value.shape, strict=True))


def test_with_batches_the_first_axis_and_the_optional_input_go(fused: Path) -> None:
    described = parsed(triton_config(fused, 8))
    alone = parsed(triton_config(fused))
    assert described.max_batch_size == 8
    assert described.HasField("dynamic_batching")
    assert tensors(described.input) == {"image": ("UINT8", [224, 224, 3])}
    assert not described.input[0].optional
    for name, (kind, dims) in tensors(described.output).items():
        assert (kind, [-1, *dims] if name != "n_segments" else [-1]) == tensors(alone.output)[name]
    (counts,) = [entry for entry in described.output if entry.name == "n_segments"]
    assert (list(counts.dims), counts.HasField("reshape"), list(counts.reshape.shape)) == ([1], True, [])


def test_classes_that_are_required_are_an_input_of_every_run(tmp_path: Path) -> None:
    path = tmp_path / "required.onnx"
    fuse(default_model(), path, Fusion(default_classes=False, overlay=False))
    assert tensors(parsed(triton_config(path, 8)).input) == {
        "image": ("UINT8", [224, 224, 3]),
        "classes": ("INT64", [-1]),
    }


def test_a_fixed_batch_is_refused_with_the_reason(tmp_path: Path) -> None:
    value = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [4, 8, 8, 3]) for name in ("image", "out")
    ]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["image"], ["out"])], "g", value[:1], value[1:])
    onnx.save(
        onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 18)]),
        tmp_path / "m.onnx",
    )
    with pytest.raises(OptionError, match=r"'image' has the shape \[4, .*leave the maximal batch size out"):
        triton_config(tmp_path / "m.onnx", 8)


def test_the_explainers_config_lists_what_the_model_answers(deploy: Path) -> None:
    described = parsed((deploy / "triton/secam_explainer/config.pbtxt").read_text())
    assert tuple(entry.name for entry in described.output) == OUTPUTS
    assert described.HasField("dynamic_batching")
