"""Operators that ONNX Runtime does not have are named, with their number; its own of any domain pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from onnx import ModelProto, TensorProto, helper

from secam_onnx import Explainer
from secam_onnx.errors import ModelError
from secam_onnx.graph.onnx_file import read_model


def with_nodes(path: Path, *kinds: tuple[str, str]) -> Path:
    """A classifier before whose first node others stand, of these operators and domains."""
    model = tiny_models.classifier()
    image = model.graph.input[0].name
    for number, (kind, domain) in enumerate(kinds):
        model.graph.node.append(helper.make_node(kind, [image], [f"extra{number}"], domain=domain))
        if domain not in [entry.domain for entry in model.opset_import]:
            model.opset_import.append(helper.make_opsetid(domain, 1))
    path.write_bytes(model.SerializeToString())
    return path


def test_custom_operators_are_counted(tmp_path: Path) -> None:
    file = with_nodes(tmp_path / "m.onnx", ("NMS", "mmdeploy"), ("Foo", "my.domain"), ("NMS", "mmdeploy"))
    words = r"3 nodes of custom operators.*NMS of mmdeploy \(2\), Foo of my\.domain \(1\)\. Export the model without"
    with pytest.raises(ModelError, match=words):
        Explainer(file)


@pytest.mark.parametrize(
    ("kind", "domain", "words"),
    [
        ("Mine", "", r"1 node of custom operators.*Mine of the ONNX domain \(1\)"),
        ("StringToHash", "ai.onnx.contrib", "onnxruntime-extensions"),
    ],
)
def test_one_of_them(kind: str, domain: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        read_model(with_nodes(tmp_path / "m.onnx", (kind, domain)))


def test_many_of_them_are_not_all_listed(tmp_path: Path) -> None:
    file = with_nodes(tmp_path / "m.onnx", *[(f"Op{number}", "mine") for number in range(9)])
    with pytest.raises(ModelError, match=r"9 nodes.*Op4 of mine \(1\), \.\.\.\. Export"):
        read_model(file)


def test_one_in_a_branch(tmp_path: Path) -> None:
    model: ModelProto = tiny_models.classifier()
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    inner = helper.make_graph(
        [helper.make_node("Foo", [model.graph.input[0].name], ["y"], domain="d")], "b", [], [value]
    )
    condition = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("", TensorProto.BOOL, [], [True]))
    model.graph.node.extend([condition, helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"2 nodes.*Foo of d \(2\)"):
        read_model(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("kind", "domain"), [("Gelu", "com.microsoft"), ("ImageScaler", ""), ("Normalizer", "ai.onnx.ml")]
)
def test_operators_of_onnx_runtime_pass(kind: str, domain: str, tmp_path: Path) -> None:
    read_model(with_nodes(tmp_path / "m.onnx", (kind, domain)))
