"""ONNX Runtime in Python, against the package itself."""

from __future__ import annotations

import pytest
from agreement import batch_agrees_with_singles, explanations_agree
from networks import NETWORKS

pytestmark = pytest.mark.parametrize("name", NETWORKS)
ENGINE = "python"


def test_it_says_what_the_package_says(name, case_of, results_of):
    explanations_agree(case_of(name), results_of(ENGINE, name))


def test_three_pictures_at_once_are_three_pictures(name, case_of, results_of):
    if case_of(name).batch:
        pytest.skip("this model takes one at a time")
    batch_agrees_with_singles(results_of(ENGINE, name))
