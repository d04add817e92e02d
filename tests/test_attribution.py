"""Which attribution a head gets, and what each promises on smooth heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_models import classifier

from secam_onnx import Explainer
from secam_onnx.attribution import ATTRIBUTIONS, choose_attribution
from secam_onnx.errors import OptionError


def smooth(op: str, folder: Path) -> Path:
    """GAP, the operator, FC."""
    model = classifier("gap+sin+fc")
    (node,) = (node for node in model.graph.node if node.op_type == "Sin")
    node.op_type = op
    if op == "LayerNormalization":
        node.input.append("scale")
        channels = numpy_helper.to_array(model.graph.initializer[0]).shape[0]
        scale = np.linspace(0.5, 1.5, channels, dtype=np.float32)
        model.graph.initializer.append(numpy_helper.from_array(scale, "scale"))
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize(
    ("algebra", "way"), [("piecewise linear", "gradient"), ("smooth", "integrated"), ("unknown", "masking")]
)
def test_defaults(algebra: str, way: str) -> None:
    assert choose_attribution(algebra) == way
    assert choose_attribution(algebra, "masking") == "masking"


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(OptionError, match="Unknown attribution 'magic'; there are gradient, integrated, masking"):
        choose_attribution("smooth", "magic")
    with pytest.raises(OptionError, match="whose every node is understood"):
        choose_attribution("unknown", "gradient")


@pytest.mark.parametrize("op", ["HardSwish", "Tanh", "LayerNormalization"])
def test_the_default_of_smooth_heads_adds_up(op: str, tmp_path: Path, chelsea: np.ndarray) -> None:
    explanation = Explainer(smooth(op, tmp_path), providers="cpu").explain(chelsea, "all")
    assert explanation.method["attribution"] == ATTRIBUTIONS["integrated"]
    assert explanation.completeness_error < 1e-2


def test_the_gradient_through_a_layer_normalisation_adds_up_to_nothing(tmp_path: Path, chelsea: np.ndarray) -> None:
    """Which is why it is not the default."""
    explanation = Explainer(smooth("LayerNormalization", tmp_path), providers="cpu", attribution="gradient").explain(
        chelsea, "all"
    )
    total, size = explanation.maps.sum(axis=(1, 2)), np.abs(explanation.maps).sum(axis=(1, 2))
    assert np.abs(total).max() < 1e-2 * size.max()
    assert explanation.method["attribution"] == ATTRIBUTIONS["gradient"]
