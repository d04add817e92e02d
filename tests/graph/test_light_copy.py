"""Copies of a model without its weights."""

from __future__ import annotations

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, parser

from secam_onnx.graph.light_copy import with_initializers_as_inputs, without_initializers

TEXT = """<ir_version: 3, opset_import: ["" : 13], producer_name: "somebody">
net (float[N, 4] x, float[4, 3] w) => (float[N, 3] y)
<float[4, 3] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float[3] b = {1,2,3}> {
  m = MatMul (x, w)
  y = Add (m, b)
}"""


@pytest.fixture
def model() -> ModelProto:
    return parser.parse_model(TEXT)


def test_initializers_are_left_out_also_where_they_are_listed_as_inputs(model: ModelProto) -> None:
    before = model.SerializeToString()
    light = without_initializers(model)
    assert model.SerializeToString() == before
    assert [value.name for value in light.graph.input] == ["x"]
    assert not light.graph.initializer
    assert list(light.graph.node) == list(model.graph.node)
    assert light.ir_version == 4


def test_initializers_become_inputs_of_their_types_and_shapes(model: ModelProto) -> None:
    model.graph.initializer[1].data_location = TensorProto.EXTERNAL  # the values do not matter
    light = with_initializers_as_inputs(model)
    expected = [("w", [4, 3]), ("b", [3])]
    assert list(light.graph.input)[1:] == [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in expected]
    onnx.checker.check_model(light, full_check=True)
