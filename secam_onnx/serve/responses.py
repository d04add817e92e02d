"""Responses of either version of the protocol, as finished bytes; they are made outside the event loop."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from secam_onnx.explainer import Explainer
from secam_onnx.explanation import Explanation
from secam_onnx.pipeline.finish import highest
from secam_onnx.serve.kserve_sdk import InferOutput, InferRequest, InferResponse, from_np_dtype, serialize_byte_tensor
from secam_onnx.serve.request.drawing import PICTURE_KINDS, drawn
from secam_onnx.serve.request.output_tensors import ExplainedImage
from secam_onnx.serve.request.parameters import ExplanationRequest
from secam_onnx.shown_text import shown_json_bytes
from secam_onnx.superpixels.label_maps import encode_label_map

__all__ = [
    "JSON",
    "PNG",
    "explain_response",
    "grpc_response",
    "http_response",
    "picture_response",
    "predict_response",
]

JSON, PNG = "application/json", "image/png"


def predict_response(request: ExplanationRequest, results: Sequence[ExplainedImage], explainer: Explainer) -> bytes:
    """`{"predictions": [[{"index", "label", "probability", "logit"}, ...], ...]}`, the highest classes of each."""
    predictions = [
        [vars(entry) for entry in highest(result.output, explainer.labels, request.top_k)] for result in results
    ]
    return shown_json_bytes(orjson.dumps({"predictions": predictions}))


def explain_response(request: ExplanationRequest, results: Sequence[ExplainedImage]) -> bytes:
    """`{"explanations": [...]}`, each as in `explanation.json`, with the outputs that were asked for."""
    explanations = [_with_extras(result.with_superpixels, request.outputs) for result in results]
    return shown_json_bytes(orjson.dumps({"explanations": explanations}, option=orjson.OPT_SERIALIZE_NUMPY))


def picture_response(request: ExplanationRequest, results: Sequence[ExplainedImage]) -> bytes:
    """A PNG of the first photograph and its first class, of the first picture that was asked for."""
    kind = next(name for name in request.outputs if name in PICTURE_KINDS)
    explanation = results[0].with_superpixels
    return drawn(explanation, explanation.classes[0].index, kind)


def http_response(request: InferRequest, values: dict[str, np.ndarray], request_id: str) -> tuple[bytes, int | None]:
    """Tensors as a response over HTTP, and the length of its JSON if binary tensors follow.

    The SDK's own encoding takes 0.3 s for a million numbers.
    """
    binary = {
        entry.name: request.use_binary_outputs if entry.binary_data is None else entry.binary_data
        for entry in request.request_outputs or []
    }
    outputs, tail = [], []
    for name, value in values.items():
        output: dict[str, Any] = {"name": name, "datatype": from_np_dtype(value.dtype), "shape": list(value.shape)}
        if binary.get(name, request.use_binary_outputs):
            raw = serialize_byte_tensor(value).item() if value.dtype == object else value.tobytes()
            output["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        elif value.dtype == object:
            # JSON has no bytes: names become text, and files base64.
            output["data"] = [_text(item, name) for item in value.ravel()]
        else:
            output["data"] = np.ascontiguousarray(value).ravel()
        outputs.append(output)
    head = {"model_name": request.model_name, "id": request_id, "outputs": outputs}
    text = shown_json_bytes(orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY))
    return b"".join([text, *tail]), len(text) if tail else None


def grpc_response(request: InferRequest, values: dict[str, np.ndarray], request_id: str) -> InferResponse:
    """Tensors as a response over gRPC."""
    outputs = []
    for name, value in values.items():
        output = InferOutput(name, list(value.shape), from_np_dtype(value.dtype))
        output.set_data_from_numpy(value, binary_data=True)
        output.parameters = None  # these are for HTTP
        outputs.append(output)
    return InferResponse(request_id, request.model_name, outputs)


def _with_extras(explanation: Explanation, extras: Sequence[str]) -> dict[str, Any]:
    entry = explanation.to_dict()
    if "segments" in extras:
        entry["segments"] = {"b64": _base64(encode_label_map(explanation.segments))}
    for row, of_class in enumerate(entry["classes"]):
        if "cam" in extras:
            of_class["cam"] = np.ascontiguousarray(explanation.cam[row])
        for kind in set(PICTURE_KINDS) & set(extras):
            of_class[kind] = {"b64": _base64(drawn(explanation, of_class["index"], kind))}
    return entry


def _text(value: bytes, name: str) -> str:
    return value.decode() if name == "class_labels" else _base64(value)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
