"""What is sent back: for either version of the protocol, as finished bytes, made outside the event loop."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
from kserve import InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import serialize_byte_tensor
from kserve.utils.numpy_codec import from_np_dtype
from PIL import Image

from secam_onnx.explainer import Explainer
from secam_onnx.explanation import Explanation, overlays
from secam_onnx.labels import class_name
from secam_onnx.pipeline.finish import highest
from secam_onnx.serve.engine import Explained
from secam_onnx.serve.parameters import Question
from secam_onnx.superpixels.label_maps import encode_label_map

__all__ = ["JSON", "PNG", "explain_reply", "infer_reply", "infer_response", "picture_reply", "predict_reply", "tensors"]

JSON, PNG = "application/json", "image/png"

_DRAW: dict[str, Callable[[Explanation, int], Image.Image]] = {
    "overlay": lambda explanation, index: explanation.overlay(index),
    "heatmap": lambda explanation, index: explanation.overlay(index, kind="heatmap"),
    "panel": lambda explanation, index: explanation.panel(index),
}


def predict_reply(question: Question, results: Sequence[Explained], explainer: Explainer) -> bytes:
    """`{"predictions": [[{"index", "label", "probability", "logit"}, ...], ...]}`, the highest classes of each."""
    predictions = [
        [vars(entry) for entry in highest(result.answer, explainer.labels, question.top_k)] for result in results
    ]
    return orjson.dumps({"predictions": predictions})


def explain_reply(question: Question, results: Sequence[Explained]) -> bytes:
    """`{"explanations": [...]}`, each as `explanation.json`, with what was asked for besides."""
    explanations = [_with_extras(_explanation(result), question.outputs) for result in results]
    return orjson.dumps({"explanations": explanations}, option=orjson.OPT_SERIALIZE_NUMPY)


def picture_reply(question: Question, results: Sequence[Explained]) -> bytes:
    """A PNG of the first photograph's first class, of the first picture that was asked for."""
    kind = next(name for name in question.outputs if name in _DRAW)
    explanation = _explanation(results[0])
    return _png(_DRAW[kind](explanation, explanation.classes[0].index))


def infer_reply(request: InferRequest, values: dict[str, np.ndarray], request_id: str) -> tuple[bytes, int | None]:
    """Tensors as a response over HTTP, and the length of its part in JSON where bytes follow that.

    The SDK's own way takes 0.3 s for a million numbers.
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
            # JSON has no bytes: text is text, files are base64.
            output["data"] = [_text(item, name) for item in value.ravel()]
        else:
            output["data"] = np.ascontiguousarray(value).ravel()
        outputs.append(output)
    head = {"model_name": request.model_name, "id": request_id, "outputs": outputs}
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([text, *tail]), len(text) if tail else None


def infer_response(request: InferRequest, values: dict[str, np.ndarray], request_id: str) -> InferResponse:
    """Tensors as a response over gRPC."""
    outputs = []
    for name, value in values.items():
        output = InferOutput(name, list(value.shape), from_np_dtype(value.dtype))
        output.set_data_from_numpy(value, binary_data=True)
        output.parameters = None  # of HTTP
        outputs.append(output)
    return InferResponse(request_id, request.model_name, outputs)


def tensors(names: Sequence[str], results: Sequence[Explained], explainer: Explainer) -> dict[str, np.ndarray]:
    """The outputs of `infer`, by name.

    Where photographs differ in their number of classes or superpixels, the shorter ones are filled up: `class_id` with
    -1, `label` with nothing, the others with 0.
    """
    return {name: _TENSORS[name](results, explainer) for name in names}


def _stacked(rows: Sequence[np.ndarray], fill: object = 0) -> np.ndarray:
    shape = tuple(max(lengths) for lengths in zip(*(row.shape for row in rows), strict=True))
    stacked = np.full((len(rows), *shape), fill, dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        stacked[place][tuple(slice(length) for length in row.shape)] = row
    return stacked


def _of_classes(values: Callable[[Explained], np.ndarray]) -> Callable[[Sequence[Explained], Explainer], np.ndarray]:
    return lambda results, _: _stacked([np.asarray(values(result), dtype=np.float32) for result in results])


def _class_id(results: Sequence[Explained], _: Explainer) -> np.ndarray:
    return _stacked([np.array(result.answer.class_ids, dtype=np.int64) for result in results], -1)


def _label(results: Sequence[Explained], explainer: Explainer) -> np.ndarray:
    return _stacked(
        [
            _bytes([class_name(explainer.labels, index).encode() for index in result.answer.class_ids])
            for result in results
        ],
        b"",
    )


def _overlay(results: Sequence[Explained], explainer: Explainer) -> np.ndarray:
    """On what the model saw, which has one size for all photographs."""
    pictures = []
    for explanation in map(_explanation, results):
        seen, _ = explainer.preprocessing.crop(explanation.image)
        kept = [explanation.keep(entry.index) for entry in explanation.classes]
        pictures.append(np.stack([overlays.kept_overlay(seen, explanation.segments, keep) for keep in kept]))
    return _stacked(pictures)


def _overlay_png(results: Sequence[Explained], _: Explainer) -> np.ndarray:
    """On the whole photograph, at its own size."""
    rows = []
    for explanation in map(_explanation, results):
        rows.append(_bytes([_png(explanation.overlay(entry.index)) for entry in explanation.classes]))
    return _stacked(rows, b"")


_TENSORS: dict[str, Callable[[Sequence[Explained], Explainer], np.ndarray]] = {
    "class_id": _class_id,
    "label": _label,
    "probability": _of_classes(lambda result: result.answer.probabilities[result.answer.class_ids]),
    "score": _of_classes(lambda result: result.answer.logits[result.answer.class_ids]),
    "bias": _of_classes(lambda result: result.answer.bias),
    "cam": _of_classes(lambda result: result.answer.cam),
    "segments": lambda results, _: np.stack([_explanation(result).segments for result in results]),
    "n_segments": lambda results, _: np.array(
        [_explanation(result).segment_scores.shape[1] for result in results], dtype=np.int32
    ),
    "segment_scores": _of_classes(lambda result: _explanation(result).segment_scores),
    "segment_contributions": _of_classes(lambda result: _explanation(result).segment_contributions),
    "box": lambda results, _: np.array([result.geometry.box for result in results], dtype=np.float64),
    "image_size": lambda results, _: np.array([result.geometry.image_size for result in results], dtype=np.int32),
    "overlay": _overlay,
    "overlay_png": _overlay_png,
}


def _with_extras(explanation: Explanation, extras: Sequence[str]) -> dict[str, Any]:
    entry = explanation.to_dict()
    if "segments" in extras:
        entry["segments"] = {"b64": _base64(encode_label_map(explanation.segments))}
    for row, of_class in enumerate(entry["classes"]):
        if "cam" in extras:
            of_class["cam"] = np.ascontiguousarray(explanation.cam[row])
        for kind in _DRAW.keys() & set(extras):
            of_class[kind] = {"b64": _base64(_png(_DRAW[kind](explanation, of_class["index"])))}
    return entry


def _explanation(result: Explained) -> Explanation:
    assert result.explanation is not None
    return result.explanation


def _bytes(values: Sequence[bytes]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _text(value: bytes, name: str) -> str:
    return value.decode() if name == "label" else _base64(value)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # a third of the time of the default, for a tenth more bytes
    return buffer.getvalue()
