"""The same fused files in every engine: against the package, and against ONNX Runtime in Python."""

from __future__ import annotations

import pytest
from agreement import agree, batch_agrees_with_singles, explanations_agree
from engines import ENGINES
from networks import NETWORKS

pytestmark = [
    pytest.mark.parametrize("name", NETWORKS),
    # One process each, in which every network is run once.
    pytest.mark.parametrize("engine", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ENGINES]),
]
REFERENCE = "python"


def test_it_says_what_the_package_says(engine, name, case_of, results_of):
    explanations_agree(case_of(name), results_of(engine, name))


def test_three_pictures_at_once_are_three_pictures(engine, name, case_of, results_of):
    if case_of(name).batch:
        pytest.skip("this model takes one at a time")
    batch_agrees_with_singles(results_of(engine, name))


def test_it_says_what_onnx_runtime_says_in_python(engine, name, results_of):
    if engine == REFERENCE:
        pytest.skip("that is ONNX Runtime in Python")
    for found, expected in zip(results_of(engine, name), results_of(REFERENCE, name), strict=True):
        agree(found.outputs, expected.outputs)
