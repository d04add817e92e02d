"""The model class that KServe's SDK calls, from a protocol's request to its response."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np

from secam_onnx.classifier.fidelity import NOT_COMPARED
from secam_onnx.decoding.decoder_pool import DecoderPool
from secam_onnx.errors import ClassError, DecoderError, ImageError, ModelError, OptionError
from secam_onnx.explainer import Explainer
from secam_onnx.files import sha256, unchanged
from secam_onnx.serve import metrics, request_parsing, responses
from secam_onnx.serve.access_log import logger
from secam_onnx.serve.async_explainer import AsyncExplainer
from secam_onnx.serve.kserve_sdk import (
    EXPLAIN_HIST_TIME,
    PREDICT_HIST_TIME,
    InferenceVerb,
    InferRequest,
    InferResponse,
    Model,
    ModelNotReady,
    get_labels,
)
from secam_onnx.serve.request.input_images import ENCODED, PIXELS
from secam_onnx.serve.request.output_tensors import ExplainedImage, check_maps, output_tensors
from secam_onnx.serve.request.parameters import OUTPUTS, ExplanationRequest
from secam_onnx.serve.request_context import current_request
from secam_onnx.serve.request_errors import MalformedError, PredictorError, RequestError, StuckError, TooLateError
from secam_onnx.serve.settings import Limits, Settings

__all__ = ["ExplainerModel", "open_explainer"]

Value = TypeVar("Value")

_LARGE = asyncio.Semaphore(1)  # answers that are made
_FEW_VALUES, _FEW_PIXELS = 20_000, 8_000_000  # of an answer
_SMALL_BYTES = 128 << 10  # of a file, whose structure is read in a millisecond or few


def open_explainer(path: Path, settings: Settings) -> Explainer:
    """Open a model and explain a first picture, so that no request waits for what happens once.

    Raises
    ------
    SecamError
        See `Explainer`.
    """
    explainer = Explainer(path, providers=settings.provider, threads=settings.threads, formats=settings.formats)
    preprocessing = explainer.preprocessing
    channels = max(preprocessing.channels or (preprocessing.picture_channels,))
    explainer.explain(np.random.default_rng(0).integers(0, 256, (64, 64, channels), dtype=np.uint8))
    return explainer


class ExplainerModel(Model):
    """A KServe model that explains what it predicts.

    Parameters
    ----------
    name : str
        The model's name in requests.
    path : Path
        The model's file, which `open` reads once.
    settings : Settings
        The server's settings.
    decoders : DecoderPool
        Where encoded photographs are read; all models share it.
    """

    def __init__(self, name: str, path: Path, settings: Settings, decoders: DecoderPool) -> None:
        super().__init__(name)
        self.path = path
        self._settings = settings
        self._decoders = decoders
        self._async_explainer: AsyncExplainer | None = None

    async def open(self) -> None:
        """Read the file and explain a first picture, in a thread; then the model is ready.

        Raises
        ------
        SecamError
            See `Explainer`.
        """
        await asyncio.to_thread(self._decoders.start)
        explainer = await asyncio.to_thread(self._read)
        note = explainer.preprocessing_note or ""
        if note.startswith("assumed"):
            logger.warning(
                f"preprocessing {note}; to change it, export the model with --preprocess", extra={"model": self.name}
            )
        sure = explainer.classifier.metadata.probability_note
        if sure.startswith(("assumed", "none")):
            logger.warning(f"probability {sure}", extra={"model": self.name})
        for warning in (explainer.preprocessing_warning, explainer.features_warning):
            if warning:
                logger.warning(warning, extra={"model": self.name})
        if explainer.fidelity is None and not explainer.classifier.metadata.completeness:  # exported files have it
            logger.warning(NOT_COMPARED, extra={"model": self.name})
        self._async_explainer = AsyncExplainer(self.name, explainer, self._settings.limits, self._decoders)
        self.ready = True

    async def healthy(self) -> bool:
        """Whether the model is open and answers: photographs can be read, and its network does not hang."""
        return self.ready and self._opened().working

    async def close(self) -> None:
        """Stop the threads, and the decoders of all models."""
        self.ready = False
        await asyncio.to_thread(self._decoders.close)
        if self._async_explainer is not None:
            await self._async_explainer.close()

    @property
    def explainer(self) -> Explainer:
        """The model's explainer.

        Raises
        ------
        ModelNotReady
            The model is not open yet.
        """
        return self._opened().explainer

    def load(self) -> bool:
        """Do nothing: the SDK calls this for a model that is not ready, but the file is read once, by `open`."""
        return self.ready

    def get_input_types(self) -> list[dict[str, Any]]:
        """The inputs of `infer`; a request gives one of them."""
        return [
            {"name": PIXELS, "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
            {"name": ENCODED, "datatype": "BYTES", "shape": [-1]},
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The outputs of `infer`; -1 stands for lengths that vary: photographs, classes, superpixels."""
        rows, columns = self.explainer.preprocessing.size
        shapes = {
            "class_ids": ("INT64", [-1, -1]),
            "class_labels": ("BYTES", [-1, -1]),
            "cam": ("FP32", [-1, -1, -1, -1]),
            "segments": ("INT32", [-1, rows, columns]),
            "n_segments": ("INT32", [-1]),
            "segment_scores": ("FP32", [-1, -1, -1]),
            "segment_contributions": ("FP32", [-1, -1, -1]),
            "box": ("FP64", [-1, 4]),
            "image_size": ("INT32", [-1, 2]),
            "overlay": ("UINT8", [-1, -1, rows, columns, 3]),
            "overlay_png": ("BYTES", [-1, -1]),
        }
        return [
            dict(zip(("name", "datatype", "shape"), (name, *shapes.get(name, ("FP32", [-1, -1]))), strict=True))
            for name in OUTPUTS
        ]

    async def __call__(
        self,
        body: Any,
        headers: dict[str, str] | None = None,
        verb: InferenceVerb = InferenceVerb.PREDICT,
    ) -> tuple[bytes | InferResponse | dict[str, Any], dict[str, str]]:
        """Answer a request.

        Parameters
        ----------
        body : dict, bytes or InferRequest
            JSON of version 1, an image file, or a request of version 2.
        headers : dict of str to str, optional
            Headers of the request.
        verb : InferenceVerb
            `EXPLAIN` for `:explain`, `PREDICT` for `:predict` and `infer`.

        Returns
        -------
        response : bytes, InferResponse or dict
            The body of the response.
        headers : dict of str to str
            Headers of the response.

        Raises
        ------
        MalformedError
            The input is bad; the message says why.
        TooLateError
            The answer took longer than `timeout_s`.
        RequestError
            The model fails, or there are too many requests.
        """
        current_request().notes |= {"model": self.name}
        explain = verb == InferenceVerb.EXPLAIN
        patience = self._settings.limits.timeout_s
        try:
            with (EXPLAIN_HIST_TIME if explain else PREDICT_HIST_TIME).labels(**get_labels(self.name)).time():
                if self._settings.predictor_host and not explain and not isinstance(body, InferRequest):
                    return await self._forwarded(body, headers), {}
                async with asyncio.timeout(patience):
                    if isinstance(body, InferRequest):
                        return await self._infer(body)
                    return await (self._explain(body) if explain else self._predict(body))
        except TimeoutError:
            raise TooLateError(
                f"No answer within {patience:g} s: the server is busy, or the request is too large. Try again later, "
                "or ask for fewer photographs or classes."
            ) from None
        except (ImageError, ClassError, OptionError) as error:
            raise MalformedError(str(error)) from error
        except DecoderError as error:
            raise StuckError(str(error)) from error
        except ModelError as error:
            raise RequestError(str(error)) from error

    async def _infer(self, request: InferRequest) -> tuple[bytes | InferResponse, dict[str, str]]:
        values = await self._answered(
            partial(request_parsing.read_infer, request),
            lambda asked, results: output_tensors(asked.outputs, results, self.explainer),
        )
        id_ = request.id or current_request().id
        if request.from_grpc:
            return responses.grpc_response(request, values, id_), {}
        body, length = await asyncio.to_thread(responses.http_response, request, values, id_)
        return body, {} if length is None else {"inference-header-content-length": str(length)}

    async def _explain(self, body: Any) -> tuple[bytes, dict[str, str]]:
        if isinstance(body, bytes) and current_request().accept.startswith(responses.PNG):
            ask = partial(request_parsing.read_file, body, current_request().query, explain=True, picture=True)
            return await self._answered(ask, responses.picture_response), {"content-type": responses.PNG}
        reply = await self._answered(_asked(body, explain=True), responses.explain_response, small=_is_small(body))
        return reply, {"content-type": responses.JSON}

    async def _predict(self, body: Any) -> tuple[bytes, dict[str, str]]:
        reply = await self._answered(
            _asked(body, explain=False),
            partial(responses.predict_response, explainer=self.explainer),
            small=_is_small(body),
        )
        return reply, {"content-type": responses.JSON}

    async def _forwarded(self, body: Any, headers: dict[str, str] | None) -> dict[str, Any]:
        """Pass a request on to the predictor, which may take other parameters than this server."""
        body = request_parsing.forwardable(body, current_request().query)
        host, patience = self._settings.predictor_host, self._settings.limits.timeout_s
        if self._settings.key_digests:  # the key is for this server, but the SDK would pass it on
            headers = {name: value for name, value in (headers or {}).items() if name != "authorization"}
        try:
            async with asyncio.timeout(patience):
                return await super().predict(body, headers)
        except TimeoutError:
            raise TooLateError(f"The predictor at {host} gave no answer within {patience:g} s.") from None
        except httpx.HTTPStatusError as error:
            raise PredictorError(
                f"The predictor at {host} answered {error.response.status_code}: {error.response.text[:1000]}",
                status=error.response.status_code,
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            raise PredictorError(f"The predictor at {host} cannot be reached ({error}).") from error

    async def _answered(
        self,
        read: Callable[[Explainer, Limits], ExplanationRequest],
        respond: Callable[[ExplanationRequest, list[ExplainedImage]], Value],
        *,
        small: bool = False,
    ) -> Value:
        """Read a request, explain its photographs and make the response.

        The event loop waits for none of these, but for a `small` request, which takes less time than changing threads.
        """
        explainer = self._opened()
        if small:
            request = read(explainer.explainer, self._settings.limits)
        else:
            request = await asyncio.to_thread(read, explainer.explainer, self._settings.limits)
        with explainer.admitted(request):
            results = await explainer.explain(request)
            check_maps(request.outputs, results, self._settings.limits)
            large = request.n_values > _FEW_VALUES or request.kept_pixels * request.n_maps > _FEW_PIXELS
            make = partial(respond, request, results)
            if large or request.kept_pixels:
                with metrics.RENDER.labels(self.name).time() if request.kept_pixels else contextlib.nullcontext():
                    # Large ones take hundreds of thousands of objects or a gigabyte of pictures: one at a time.
                    return await explainer.in_thread(make, _LARGE if large else None)
            return make() if small else await asyncio.to_thread(make)

    def _read(self) -> Explainer:
        expected = self._settings.model_digests.get(self.name)
        with unchanged(self.path):
            if expected is not None and sha256(self.path) != expected:
                raise ModelError(
                    f"{self.path} has changed since the server started; restart the server to serve the new file."
                )
            return open_explainer(self.path, self._settings)

    def _opened(self) -> AsyncExplainer:
        if self._async_explainer is None or not self.ready:
            raise ModelNotReady(self.name)
        return self._async_explainer


def _is_small(body: Any) -> bool:
    """Whether a request is one small file without parameters."""
    return isinstance(body, bytes) and len(body) <= _SMALL_BYTES and not current_request().query


def _asked(body: Any, *, explain: bool) -> Callable[[Explainer, Limits], ExplanationRequest]:
    """The function that reads a request of version 1."""
    read = request_parsing.read_file if isinstance(body, bytes) else request_parsing.read_instances
    return partial(read, body, current_request().query, explain=explain)
