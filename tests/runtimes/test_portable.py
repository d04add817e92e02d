"""What a fused file is made of, as far as engines differ in what they take."""

from __future__ import annotations

import onnx
import pytest
from networks import NETWORKS
from onnx import AttributeProto

from secam_onnx.graph.node_info import reads


@pytest.mark.parametrize("name", NETWORKS)
def test_standard_operators_only(name, case_of):
    model = onnx.load(case_of(name).model)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.domain for entry in model.opset_import if entry.domain] == []
    assert not model.functions
    assert model.opset_import[0].version >= 18


@pytest.mark.parametrize("name", ["smooth", "not understood"])
def test_bodies_take_constants_only_from_around_them(name, case_of):
    graph = onnx.load(case_of(name).model).graph
    constants = {tensor.name for tensor in graph.initializer}
    scans = [node for node in graph.node if any(entry.type == AttributeProto.GRAPH for entry in node.attribute)]
    assert [node.op_type for node in scans] == ["Scan"]
    assert set(reads(scans[0])[len(scans[0].input) :]) <= constants
