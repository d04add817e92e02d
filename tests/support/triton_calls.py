"""Triton's client over gRPC, in a process without KServe's SDK: both define the protocol's messages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["call", "infer", "infer_all"]


def call(address: str, method: str, *arguments: Any) -> Any:
    """A method of the client: its answer as JSON has it, or the status and the reason why there is none."""
    from tritonclient import grpc
    from tritonclient.utils import InferenceServerException

    with grpc.InferenceServerClient(address) as client:
        try:
            more = {"as_json": True} if method.startswith("get_") else {}
            return getattr(client, method)(*arguments, **more)
        except InferenceServerException as error:
            return error.status(), error.message()


def infer(
    address: str, model: str, given: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None, **more: Any
) -> tuple[str, dict[str, tuple[str, list[int], np.ndarray]]] | tuple[str, str]:
    """An inference: its id, and datatype, shape and values by name; or the status and the reason why there is none."""
    from tritonclient import grpc
    from tritonclient.utils import InferenceServerException

    inputs, wanted = _tensors(grpc, given, outputs)
    with grpc.InferenceServerClient(address) as client:
        try:
            return _read(client.infer(model, inputs, outputs=wanted, **more))
        except InferenceServerException as error:
            return error.status(), error.message()


def infer_all(address: str, model: str, many: Sequence[Mapping[str, np.ndarray]]) -> list[Any]:
    """Several at once, by the asynchronous client."""
    import tritonclient.grpc.aio as grpc

    async def ask() -> list[Any]:
        async with grpc.InferenceServerClient(address) as client:
            return await asyncio.gather(*(client.infer(model, _tensors(grpc, given, None)[0]) for given in many))

    return [_read(result) for result in asyncio.run(ask())]


def _tensors(grpc: Any, given: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> tuple[list[Any], Any]:
    inputs = []
    for name, values in given.items():
        tensor = grpc.InferInput(name, list(values.shape), "BYTES" if values.dtype == object else "UINT8")
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    return inputs, outputs and [grpc.InferRequestedOutput(name) for name in outputs]


def _read(result: Any) -> tuple[str, dict[str, tuple[str, list[int], np.ndarray]]]:
    response = result.get_response()
    values = {
        output.name: (output.datatype, list(output.shape), result.as_numpy(output.name)) for output in response.outputs
    }
    return response.id, values
