"""SeCAM in Triton's Python backend, with the inputs, outputs and parameters that `secam-onnx serve` has in `infer`.

It needs secam-onnx with ONNX Runtime, but no KServe. Requests that Triton hands over together share one run.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from secam_onnx import Explainer, Explanation, SecamError
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.explanation import overlays
from secam_onnx.labels import ClassQuery, class_codes
from secam_onnx.photograph.images import EncodedImage
from secam_onnx.pipeline.prepare import PreparedImage
from secam_onnx.threads import cores

MAX_PIXELS = 50_000_000
MAX_MAPS, MAX_PICTURES = 4000, 64  # photographs times classes of one request, without pictures and with them
MAX_SEGMENTS = 1000

Job = tuple[PreparedImage, list[ClassQuery]]


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model and explain a first picture, so that the next one finds everything in place."""
        parameters = json.loads(args["model_config"]).get("parameters", {})
        model, provider = (parameters.get(name, {}).get("string_value", "") for name in ("model", "provider"))
        path = Path(args["model_repository"], model) if model else None
        self.explainer = Explainer(path, providers=provider or "auto")
        self.explainer.explain(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        self.pool = ThreadPoolExecutor(cores())

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request with its outputs, or with its own error."""
        asked = [self._asked(request) for request in requests]
        results = iter(self._explain([job for entry in asked if isinstance(entry, list) for job in entry]))
        responses = []
        for request, entry in zip(requests, asked, strict=True):
            found = [next(results) for _ in entry] if isinstance(entry, list) else [entry]
            responses.append(self._response(request, found))
        return responses

    def finalize(self) -> None:
        """Stop the threads."""
        self.pool.shutdown(cancel_futures=True)
        self.explainer.close()

    def _asked(self, request: Any) -> list[Job] | SecamError:
        """A request's photographs, read and cropped, with the classes to explain; or why there are none."""
        try:
            parameters = json.loads(request.parameters() or "{}")
            if unknown := set(parameters) - {"classes", "top_k", "segments"}:
                raise OptionError(f"Unknown parameter {min(unknown)!r}; there are classes, segments, top_k.")
            images = _images(request)
            queries = _queries(parameters)
            classes = len(class_codes(queries, self.explainer.classifier.n_classes, self.explainer.labels))
            pictures = {"overlay", "overlay_png"} & set(request.requested_output_names())
            limit = MAX_PICTURES if pictures else MAX_MAPS
            if len(images) * classes > limit:
                raise OptionError(
                    f"{len(images)} photographs for {classes} classes are over the limit of {limit} maps for what is "
                    "asked; ask for fewer classes, or for no pictures."
                )
            segmenter = self.explainer.segmenter
            if "segments" in parameters:
                segments = _number(parameters, "segments", MAX_SEGMENTS)
                segmenter = dataclasses.replace(segmenter, n_segments=segments)

            def read(image: EncodedImage | np.ndarray) -> Job:
                job = self.explainer.pipeline.prepare(
                    image, segmenter=segmenter, executor=self.pool, max_pixels=MAX_PIXELS
                )
                return job, queries

            return list(self.pool.map(read, images))
        except SecamError as error:
            return error

    def _explain(self, jobs: Sequence[Job]) -> list[Explanation | SecamError]:
        if not jobs:
            return []
        outputs = self.explainer.pipeline.run_each(*zip(*jobs, strict=True))
        return [
            output if isinstance(output, ModelError) else self.explainer.pipeline.finish(job, output)
            for (job, _), output in zip(jobs, outputs, strict=True)
        ]

    def _response(self, request: Any, found: Sequence[Explanation | SecamError]) -> Any:
        if failures := [result for result in found if isinstance(result, SecamError)]:
            codes = pb_utils.TritonError
            code = codes.INTERNAL if isinstance(failures[0], ModelError) else codes.INVALID_ARG
            return pb_utils.InferenceResponse(error=codes(str(failures[0]), code))
        tensors = []
        for name in request.requested_output_names():
            rows = [_VALUES[name](result, self.explainer) for result in found]
            tensors.append(pb_utils.Tensor(name, _stacked(rows, _FILL.get(name, 0))))
        return pb_utils.InferenceResponse(tensors)


def _images(request: Any) -> list[EncodedImage | np.ndarray]:
    given = {name: pb_utils.get_input_tensor_by_name(request, name) for name in ("encoded_image", "image")}
    files, pictures = (None if tensor is None else tensor.as_numpy() for tensor in given.values())
    if (files is None) == (pictures is None):
        raise OptionError("One input was expected: 'encoded_image', BYTES (N, 1), or 'image', UINT8 (N, H, W, 3).")
    if files is not None:
        return [EncodedImage(f"encoded_image[{row}]", data) for row, data in enumerate(files.ravel())]
    height, width = pictures.shape[1:3]
    if height * width > MAX_PIXELS:
        raise OptionError(f"Photographs of {width} x {height} pixels are over the limit of {MAX_PIXELS:,}.")
    return list(pictures)


def _queries(parameters: dict[str, Any]) -> list[ClassQuery]:
    """`classes`: an index; a name, top-K or all; several with commas, or as JSON. Then those of `top_k`."""
    given = parameters.get("classes", "")
    queries: list[Any] = [given]
    if isinstance(given, str):
        try:
            as_json = given.lstrip().startswith("[")
            queries = json.loads(given) if as_json else [part.strip() for part in given.split(",") if part.strip()]
        except ValueError as error:
            raise OptionError(f"'classes' is no JSON list ({error}): {given[:80]!r}") from error
    if not all(isinstance(query, int | str) and not isinstance(query, bool) for query in queries):
        raise OptionError(f"'classes' is {str(given)[:80]!r}; names, indices, top-K or all were expected.")
    if "classes" in parameters and not queries:
        raise OptionError("'classes' is empty; give a name, an index, top-K or all.")
    if "top_k" in parameters:
        queries.append(f"top-{_number(parameters, 'top_k')}")
    return queries or ["top-1"]


def _number(parameters: dict[str, Any], name: str, most: int | None = None) -> int:
    value = parameters[name]
    if isinstance(value, bool) or not isinstance(value, int) or (most is not None and not 1 <= value <= most):
        expected = "a whole number" + (f" of 1 to {most}" if most else "")
        raise OptionError(f"{name!r} is {str(value)[:80]!r}; {expected} was expected.")
    return value


def _stacked(rows: Sequence[np.ndarray], fill: object) -> np.ndarray:
    """Where photographs differ in their number of classes or superpixels, the shorter ones are filled up."""
    shape = tuple(max(lengths) for lengths in zip(*(row.shape for row in rows), strict=True))
    stacked = np.full((len(rows), *shape), fill, dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        stacked[(place, *(slice(length) for length in row.shape))] = row
    return stacked


def _strings(values: Iterable[bytes]) -> np.ndarray:
    return np.array([*values, None], dtype=np.object_)[:-1]  # with None, so that bytes are never taken apart


def _overlay(result: Explanation, explainer: Explainer) -> np.ndarray:
    """On what the model saw, which has one size for all photographs."""
    seen, _ = explainer.preprocessing.crop(result.image)
    return np.stack(
        [overlays.kept_overlay(seen, result.segments, result.keep(entry.index)) for entry in result.classes]
    )


def _overlay_png(result: Explanation, _: Explainer) -> np.ndarray:
    """On the whole photograph, at its own size."""
    files = [io.BytesIO() for _ in result.classes]
    for file, entry in zip(files, result.classes, strict=True):
        result.overlay(entry.index).save(file, "PNG", compress_level=1)
    return _strings(file.getvalue() for file in files)


_VALUES: dict[str, Callable[[Explanation, Explainer], np.ndarray]] = {
    "class_id": lambda result, _: np.array([entry.index for entry in result.classes], np.int64),
    "label": lambda result, _: _strings(entry.label.encode() for entry in result.classes),
    "probability": lambda result, _: np.array([entry.probability for entry in result.classes], np.float32),
    "score": lambda result, _: np.array([entry.logit for entry in result.classes], np.float32),
    "bias": lambda result, _: result.bias,
    "cam": lambda result, _: result.cam,
    "segments": lambda result, _: result.segments,
    "n_segments": lambda result, _: np.array(result.segment_scores.shape[1], np.int32),
    "segment_scores": lambda result, _: result.segment_scores,
    "segment_contributions": lambda result, _: result.segment_contributions,
    "box": lambda result, _: np.array(result.geometry.box, np.float64),
    "image_size": lambda result, _: np.array(result.geometry.image_size, np.int32),
    "overlay": _overlay,
    "overlay_png": _overlay_png,
}
_FILL = {"class_id": -1, "label": b"", "overlay_png": b""}
