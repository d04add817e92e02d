"""Triton's model without Triton: what its Python backend gives a model, and how it is asked."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

MODEL = Path(__file__).parents[2] / "deploy/triton/secam_explainer/1/model.py"


class Tensor:
    def __init__(self, name: str, values: np.ndarray) -> None:
        self._name, self._values = name, values

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._values


class TritonError(Exception):
    INTERNAL, INVALID_ARG = "internal", "invalid argument"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self.tensors = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
        self.error = error


class InferenceRequest:
    def __init__(
        self, inputs: Mapping[str, np.ndarray], parameters: Mapping[str, object], outputs: Sequence[str]
    ) -> None:
        self.inputs, self._parameters, self._outputs = inputs, json.dumps(parameters), list(outputs)

    def parameters(self) -> str:
        return self._parameters

    def requested_output_names(self) -> list[str]:
        return self._outputs


def _input(request: InferenceRequest, name: str) -> Tensor | None:
    return Tensor(name, request.inputs[name]) if name in request.inputs else None


@contextmanager
def triton_model() -> Iterator[Any]:
    """The explainer of `deploy/triton`, initialised with the default model."""
    utils: Any = ModuleType("triton_python_backend_utils")
    utils.Tensor, utils.TritonError, utils.InferenceResponse = Tensor, TritonError, InferenceResponse
    utils.get_input_tensor_by_name = _input
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, utils.__name__, utils)
        spec = importlib.util.spec_from_file_location("triton_model", MODEL)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)  # where dataclasses look their module up
        spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    parameters = {"provider": {"string_value": "cpu"}}
    model.initialize({"model_config": json.dumps({"parameters": parameters}), "model_repository": "."})
    try:
        yield model
    finally:
        model.finalize()
