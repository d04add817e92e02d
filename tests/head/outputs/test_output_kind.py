"""What an output is, told from the nodes behind the last layers with weights, where these are in integers."""

from __future__ import annotations

import numpy as np
import pytest
from heads import build

from secam_onnx.graph.index import Graph
from secam_onnx.head.outputs.output_kind import output_kind

CODES = {"codes": np.ones((24, 5), np.uint8), "scale": np.float32(0.01), "zero": np.uint8(0)}
ACTIVATED = "v = Flatten (f) a = Sigmoid (v) q, s, z = DynamicQuantizeLinear (a) "
APART = (
    ACTIVATED + "i = MatMulInteger (q, codes, z, zero) r = Cast <to = 1> (i) both = Mul (s, scale) y = Mul (r, both) "
)
FUSED = ACTIVATED + "y = com.microsoft.MatMulIntegerToFloat (q, codes, s, scale, z, zero) "


@pytest.mark.parametrize("body", [APART, FUSED])
def test_a_layer_in_integers_whose_grid_the_run_chooses(body: str) -> None:
    """The sigmoid lies before the layer, and says nothing of its output."""
    assert output_kind(Graph(build(body + "logits = Add (y, b_5)", CODES)), "logits") == "raw"
    assert output_kind(Graph(build(body + "logits = Sigmoid (y)", CODES)), "logits") == "activated"
