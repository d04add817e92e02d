"""Conversion to a newer opset."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, parser

from secam_onnx import runtime
from secam_onnx.errors import ModelError
from secam_onnx.graph.opset import at_opset, opset_of


def model(nodes: str, opset: int) -> ModelProto:
    return parser.parse_model(
        f'<ir_version: 5, opset_import: ["" : {opset}]> '
        f"net (float[1, 1, 2, 3] x) => (float[N, C, H, W] y) {{ {nodes} }}"
    )


def run(model: ModelProto, image: np.ndarray) -> np.ndarray:
    (result,) = runtime.open_session(model.SerializeToString(), "cpu").run(None, {"x": image})
    return result


def test_a_model_that_is_new_enough_stays_the_same() -> None:
    for opset in (17, 18, 19):
        own = model("y = Relu (x)", opset)
        assert opset_of(own) == opset
        assert (at_opset(own, 18) is own) == (opset >= 18)
        assert opset_of(at_opset(own, 18)) == max(opset, 18)


def test_the_model_itself_is_left_alone_and_its_metadata_are_kept() -> None:
    old = model("y = Clip <min = 0.0> (x)", 10)
    onnx.helper.set_model_props(old, {"author": "somebody", "licence": "MIT"})
    before = old.SerializeToString()
    newer = at_opset(old, 18)
    assert old.SerializeToString() == before
    assert {entry.key: entry.value for entry in newer.metadata_props} == {"author": "somebody", "licence": "MIT"}
    assert list(newer.graph.node[-1].attribute) == []  # bounds became inputs
    onnx.checker.check_model(newer, full_check=True)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_old_resizes_go_on_from_the_corners(mode: str) -> None:
    """Opset 11 and later resize from the centres of the pixels."""
    image = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    nodes = f'scales = Constant <value = float[4] {{1, 1, 2, 1.7}}> () y = Resize <mode = "{mode}"> (x, scales)'
    old = model(nodes, 10)
    before, after = (
        runtime.open_session(one.SerializeToString(), "cpu").run(None, {"x": image})[0]
        for one in (old, at_opset(old, 18))
    )
    np.testing.assert_array_equal(after, before)


def test_what_cannot_be_converted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(model: ModelProto, version: int) -> ModelProto:
        raise RuntimeError("no adapter for Upsample")

    monkeypatch.setattr(onnx.version_converter, "convert_version", fails)
    reason = r"The head cannot be converted from opset 13 to 18 \(no adapter for Upsample\)\. Export .* opset 18"
    with pytest.raises(ModelError, match=reason):
        at_opset(model("y = Relu (x)", 13), 18, "head")
