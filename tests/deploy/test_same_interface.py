"""Triton's explainer takes and gives what the server does."""

import re
from pathlib import Path

from secam_onnx.serve.request.input_images import ENCODED, PIXELS
from secam_onnx.serve.request.parameters import OUTPUTS


def test_inputs_and_outputs_have_the_same_names(deploy: Path) -> None:
    text = (deploy / "triton/secam_explainer/config.pbtxt").read_text()
    assert tuple(re.findall(r'name: "(\w+)"', text)) == ("secam_explainer", ENCODED, PIXELS, *OUTPUTS)
