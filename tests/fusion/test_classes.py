"""Which classes are explained: indices as they are, ranks by the logits."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_nodes import evaluate

from secam_onnx.classifier.opened_model import probabilities_of as in_numpy
from secam_onnx.fusion.classes import chosen_classes, class_probabilities
from secam_onnx.graph.nodes import Nodes

LOGITS = np.array([[0.5, 3, -1, 3, 2], [5, 4, 3, 2, 1]], np.float32)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ([[-1]], [[1], [0]]),
        ([[-1, -2, -3]], [[1, 3, 4], [0, 1, 2]]),  # of two equal logits the first one
        ([[4, -1, 0]], [[4, 1, 0], [4, 0, 0]]),
        ([[-5], [2]], [[2], [2]]),
    ],
)
def test_ranks_and_indices(asked, chosen):
    n = Nodes()
    name = chosen_classes(n, "asked", "logits", 5)
    assert evaluate(n, name, asked=np.array(asked), logits=LOGITS).tolist() == chosen


@pytest.mark.parametrize("rank", [-6, -1000])
def test_there_are_no_more_ranks_than_classes(rank):
    n = Nodes()
    name = chosen_classes(n, "asked", "logits", 5)
    with pytest.raises(Exception, match=r"(?i)out of|bounds|range"):
        evaluate(n, name, asked=np.array([[rank]]), logits=LOGITS)


@pytest.mark.parametrize("classes", [1, 5])
@pytest.mark.parametrize("how", ["none", "softmax", "sigmoid"])
def test_probabilities(how, classes):
    n, logits = Nodes(), LOGITS[:, :classes]
    name = class_probabilities(n, "logits", how, classes)
    found = evaluate(n, name, logits=logits)
    np.testing.assert_allclose(found, in_numpy(logits, how), rtol=1e-6)
    assert np.isnan(found).all() == (how == "none" or (how, classes) == ("softmax", 1))
