"""Small image encoders, whose output is an embedding, alone and beside a text encoder as CLIP's files have it."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

__all__ = ["CHANNELS", "LENGTH", "SIDE", "WORDS", "clip_like", "encoder"]

SIDE, CHANNELS, LENGTH, WORDS = 32, 6, 12, 20
_SHAPES = {"map": f"{CHANNELS}, 8, 8", "pooler_output": f"{CHANNELS}, 1, 1", "tokens": f"64, {CHANNELS}"}
_SHAPES["logits"] = _SHAPES["map"]

_IMAGE = (
    "c = Conv <strides = [4, 4]> (pixel_values, kernel) map = Relu (c) pooler_output = GlobalAveragePool (map) "
    "flat = Flatten (pooler_output) image_embeds = MatMul (flat, project) places = Reshape (map, cells) "
    "tokens = Transpose <perm = [0, 2, 1]> (places) "
)
_TEXT = (
    "words = Gather (table, input_ids) mask = Cast <to = 1> (attention_mask) m3 = Unsqueeze (mask, last) "
    "masked = Mul (words, m3) text = ReduceSum <keepdims = 0> (masked, one) tl = ReduceL2 <keepdims = 1> (text, one) "
    "text_embeds = Div (text, tl) "
)
_BOTH = (
    "il = ReduceL2 <keepdims = 1> (image_embeds, one) above = Max (il, tiny) normed = Div (image_embeds, above) "
    "tt = Transpose <perm = [1, 0]> (text_embeds) cosine = MatMul (normed, tt) factor = Exp (log_scale) "
    "logits_per_image = Mul (cosine, factor) logits_per_text = Transpose <perm = [1, 0]> (logits_per_image) "
)


def _weights() -> dict[str, np.ndarray]:
    chance = np.random.default_rng(3)
    values = {
        "kernel": chance.standard_normal((CHANNELS, 3, 4, 4)) * 0.3,
        "project": chance.standard_normal((CHANNELS, LENGTH)),
        "table": chance.standard_normal((WORDS, LENGTH)),
        "log_scale": np.log(100.0),
        "tiny": 1e-12,  # black pictures have an embedding of zero here
    }
    integers = {"last": [2], "one": [1], "cells": [0, CHANNELS, -1]}
    return {name: np.asarray(value, np.float32) for name, value in values.items()} | {
        name: np.array(value, np.int64) for name, value in integers.items()
    }


def encoder(
    *, opset: int = 18, dtype: str = "float", output: str = "image_embeds", batch: str | int = "N", further: str = ""
) -> ModelProto:
    """Convolution, pool and projection.

    Parameters
    ----------
    dtype : str
        `float`, `float16` or `bfloat16`: of weights, input and output.
    output : str
        Also `pooler_output`, `(N, 6, 1, 1)`, `map`, `(N, 6, 8, 8)`, or `tokens`, `(N, 64, 6)`.
    further : str
        More outputs, separated by commas.
    """
    names = [output, *further.split(",")] if further else [output]
    outputs = ", ".join(f"{dtype}[{batch}, {_SHAPES.get(name, 'D')}] {name}" for name in names)
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> encoder ({dtype}[{batch}, 3, {SIDE}, {SIDE}] pixel_values) '
        f"=> ({outputs}) {{ {_IMAGE} }}"
    )
    kind = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}.get(dtype, np.float32)
    weights = {name: value.astype(kind) for name, value in _weights().items() if name in ("kernel", "project")}
    weights["cells"] = _weights()["cells"]
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return model


def clip_like(
    outputs: str = "logits_per_image, logits_per_text, text_embeds, image_embeds", batch: str | int = "N"
) -> ModelProto:
    """Image and text encoder and their cosines times 100, with the names and the order of transformers' CLIP."""
    shapes = {"logits_per_image": "B, T", "logits_per_text": "T, B", "text_embeds": f"T, {LENGTH}", "cosine": "B, T"}
    declared = ", ".join(f"float[{shapes.get(name, f'B, {LENGTH}')}] {name}" for name in outputs.split(", "))
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> clip (int64[T, L] input_ids, '
        f"float[{batch}, 3, {SIDE}, {SIDE}] pixel_values, int64[T, L] attention_mask) => ({declared}) "
        f"{{ {_TEXT} {_IMAGE} {_BOTH} }}"
    )
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in _weights().items())
    return model
