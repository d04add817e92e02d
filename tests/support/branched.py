"""Small networks of several branches in ONNX's text format: ensembles, flip averaging, heads on several scales."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper, parser

from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.photograph.preprocessing import Preprocessing

__all__ = ["CLASSES", "SIZE", "branch", "model", "opened", "pictures"]

CLASSES, SIZE = 5, 32

_WEIGHT = re.compile(r"\bw[a-z]?\d?_\d+(?:x\d+)*\b")
_NUMBERS = re.compile(r"\bi(?:_m?\d+)+\b")


def branch(of: str, name: str, weights: str = "", *, stride: int = 4, channels: int = 6) -> str:
    """A network with its own weights, or with those of another: from a picture to `{name}_z`; `{name}_f` is its map."""
    w = weights or name
    return (
        f"{name}_c = Conv <strides = [{stride}, {stride}], pads = [2, 2, 2, 2]> ({of}, w{w}0_{channels}x3x5x5) "
        f"{name}_f = Relu ({name}_c) {name}_p = GlobalAveragePool ({name}_f) {name}_v = Flatten ({name}_p) "
        f"{name}_z = Gemm ({name}_v, w{w}1_{channels}x{CLASSES}, w{w}2_{CLASSES}) "
    )


def model(body: str, *, last: bool = False, opset: int = 17, batch: int | str = "N", check: bool = True) -> ModelProto:
    """A model of a body that leads from `x` to `logits`; `w_5x4` are weights, `i_2_m1` the integers [2, -1]."""
    shape = f"[{batch}, {SIZE}, {SIZE}, 3]" if last else f"[{batch}, 3, {SIZE}, {SIZE}]"
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g (float{shape} x) => (float[{batch}, {CLASSES}] logits)'
    result = parser.parse_model(f"{text} {{ {body} }}")
    for name in dict.fromkeys(_WEIGHT.findall(body)):
        size = tuple(map(int, name.split("_")[1].split("x")))
        values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(size) / np.sqrt(np.prod(size[1:]))
        result.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    for name in dict.fromkeys(_NUMBERS.findall(body)):
        numbers = [int(number.replace("m", "-")) for number in name.split("_")[1:]]
        result.graph.initializer.append(numpy_helper.from_array(np.array(numbers), name))
    if check:
        onnx.checker.check_model(result, full_check=True)
    return result


def opened(network: ModelProto, folder: Path, **options: object) -> Classifier:
    """Opened from a file as a user's is."""
    path = folder / "network.onnx"
    onnx.save(network, path)
    layout = "NHWC" if network.graph.input[0].type.tensor_type.shape.dim[3].dim_value == 3 else "NCHW"
    return open_classifier(
        path,
        providers="cpu",
        preprocessing=Preprocessing((SIZE, SIZE), layout=layout),
        **options,  # type: ignore[arg-type]
    )


def pictures(count: int = 2, *, last: bool = False) -> np.ndarray:
    """Random, `(N, 3, h, w)` or `(N, h, w, 3)` float32."""
    shape = (count, SIZE, SIZE, 3) if last else (count, 3, SIZE, SIZE)
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)
