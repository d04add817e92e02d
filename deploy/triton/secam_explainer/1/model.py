"""SeCAM in Triton's Python backend, with the inputs, outputs, parameters and limits of `infer` in `secam-onnx serve`.

It needs secam-onnx and ONNX Runtime, but not KServe. Requests that Triton hands over together share one run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from secam_onnx import Explainer, SecamError
from secam_onnx.classifier.opened_model import ModelOutput
from secam_onnx.errors import ModelError
from secam_onnx.labels.queries import ClassQuery
from secam_onnx.photograph.images import EncodedImage
from secam_onnx.pipeline.prepare import PreparedImage
from secam_onnx.serve.request.infer import infer_request
from secam_onnx.serve.request.input_images import ENCODED, PIXELS, InputTensor
from secam_onnx.serve.request.limits import RequestLimits
from secam_onnx.serve.request.output_tensors import ExplainedImage, output_tensors
from secam_onnx.serve.request.parameters import ExplanationRequest
from secam_onnx.threads import cores

LIMITS = RequestLimits()


class TritonPythonModel:
    """The model class that Triton calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model and explain a first picture, so that no request waits for what happens once."""
        parameters = json.loads(args["model_config"]).get("parameters", {})
        model, provider = (parameters.get(name, {}).get("string_value", "") for name in ("model", "provider"))
        path = Path(args["model_repository"], model) if model else None
        self.explainer = Explainer(path, providers=provider or "auto")
        self.explainer.explain(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        self.pool = ThreadPoolExecutor(cores())

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request with its outputs or its own error."""
        prepared = [self._prepared(request) for request in requests]
        jobs: list[PreparedImage] = []
        queries: list[tuple[ClassQuery, ...]] = []
        for entry in prepared:
            if isinstance(entry, _Prepared):
                jobs += entry.jobs
                queries += [entry.request.queries] * len(entry.jobs)
        outputs = iter(self.explainer.pipeline.run_each(jobs, queries) if jobs else [])
        responses = []
        for entry in prepared:
            if isinstance(entry, _Prepared):
                responses.append(self._response(entry, [next(outputs) for _ in entry.jobs]))
            else:
                responses.append(_failed(entry))
        return responses

    def finalize(self) -> None:
        """Stop the threads."""
        self.pool.shutdown(cancel_futures=True)
        self.explainer.close()

    def _prepared(self, request: Any) -> _Prepared | SecamError:
        """Read a request and prepare its photographs; or say why it is refused."""
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in (ENCODED, PIXELS)}
        inputs = [InputTensor.of_array(name, given.as_numpy()) for name, given in tensors.items() if given is not None]
        names, parameters = request.requested_output_names(), json.loads(request.parameters() or "{}")
        try:
            asked = infer_request(inputs, parameters, names, self.explainer, LIMITS)
            return _Prepared(asked, list(self.pool.map(lambda image: self._prepare(image, asked), asked.images)))
        except SecamError as error:
            return error

    def _prepare(self, image: EncodedImage | np.ndarray, asked: ExplanationRequest) -> PreparedImage:
        return self.explainer.pipeline.prepare(
            image,
            segmenter=asked.segmenter,
            executor=self.pool,
            max_pixels=LIMITS.max_pixels,
            keep_image=bool(asked.kept_pixels),
        )

    def _response(self, prepared: _Prepared, outputs: Sequence[ModelOutput | ModelError]) -> Any:
        results = []
        for job, output in zip(prepared.jobs, outputs, strict=True):
            if isinstance(output, ModelError):
                return _failed(output)
            wanted = prepared.request.segmenter is not None
            explanation = self.explainer.pipeline.finish(job, output) if wanted else None
            results.append(ExplainedImage(output, job.geometry, explanation))
        tensors = output_tensors(prepared.request.outputs, results, self.explainer)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in tensors.items()])


@dataclass(frozen=True)
class _Prepared:
    """A request and its prepared photographs."""

    request: ExplanationRequest
    jobs: list[PreparedImage]


def _failed(error: SecamError) -> Any:
    codes = pb_utils.TritonError
    return pb_utils.InferenceResponse(
        error=codes(str(error), codes.INTERNAL if isinstance(error, ModelError) else codes.INVALID_ARG)
    )
