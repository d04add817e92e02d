"""Nodes in running order."""

from __future__ import annotations

import random
from pathlib import Path

import onnx
import pytest
from tiny_models import classifier

from secam_onnx.graph.checks.order import put_in_order
from secam_onnx.graph.onnx_file import read_model


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_nodes_run_again(seed: int) -> None:
    model = classifier("mlp", layers=3, softmax=True)
    shuffled = onnx.ModelProto.FromString(model.SerializeToString())
    nodes = list(shuffled.graph.node)
    random.Random(seed).shuffle(nodes)
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(nodes)
    put_in_order(shuffled.graph)
    assert shuffled == model  # a chain has one order
    onnx.checker.check_model(shuffled)


def test_what_is_in_order_stays_and_a_cycle_is_left_to_be_refused() -> None:
    model = classifier()
    before = model.SerializeToString()
    put_in_order(model.graph)
    assert model.SerializeToString() == before
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]
    cyclic = model.SerializeToString()
    put_in_order(model.graph)
    assert model.SerializeToString() == cyclic


def test_a_file_out_of_order_is_read_in_order(tmp_path: Path) -> None:
    model = classifier()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert list(read_model(tmp_path / "m.onnx").graph.node) == nodes[::-1]
