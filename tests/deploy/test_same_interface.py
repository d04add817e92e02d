"""Triton's explainer takes and gives what the server does."""

import re
from pathlib import Path

import pytest

pytest.importorskip("kserve")
from secam_onnx.serve.parameters import OUTPUTS
from secam_onnx.serve.photographs import ENCODED, PIXELS


def test_inputs_and_outputs_have_the_same_names(deploy: Path) -> None:
    text = (deploy / "triton/secam_explainer/config.pbtxt").read_text()
    assert tuple(re.findall(r'name: "(\w+)"', text)) == ("secam_explainer", ENCODED, PIXELS, *OUTPUTS)
