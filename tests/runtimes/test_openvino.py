"""OpenVINO in float32, against ONNX Runtime in Python and against the package."""

from __future__ import annotations

import pytest
from agreement import agree, batch_agrees_with_singles, explanations_agree
from networks import NETWORKS

pytestmark = pytest.mark.parametrize("name", NETWORKS)
ENGINE = "openvino"


def test_it_says_what_the_package_says(name, case_of, results_of):
    explanations_agree(case_of(name), results_of(ENGINE, name))


def test_three_pictures_at_once_are_three_pictures(name, case_of, results_of):
    if case_of(name).batch:
        pytest.skip("this model takes one at a time")
    batch_agrees_with_singles(results_of(ENGINE, name))


def test_it_says_what_onnx_runtime_says_in_python(name, results_of):
    for found, expected in zip(results_of(ENGINE, name), results_of("python", name), strict=True):
        agree(found.outputs, expected.outputs)
