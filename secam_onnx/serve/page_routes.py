"""Routes of the page: its files, and what it needs to know of the models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response

from secam_onnx.labels.queries import class_name
from secam_onnx.page.content import HEADERS, INDEX, media_type, served_files, served_html
from secam_onnx.serve.kserve_model import ExplainerModel
from secam_onnx.serve.kserve_sdk import DataPlane
from secam_onnx.serve.settings import Limits, Settings
from secam_onnx.shown_text import shown_json_bytes

__all__ = ["add_pages"]

_FOLDER = "page/"
_MOST_LABELS, _MOST_LETTERS = 50_000, 2_000_000  # of a model, in its list of classes


def add_pages(app: FastAPI, data_plane: DataPlane, settings: Settings) -> None:
    """Answer at `/`: browsers get the page, other clients what KServe's own server says there, and name and version.

    `/page/` has the page's files, which need no key; `/models.json` lists models and their classes, and needs one.
    """
    html = served_html(_FOLDER).encode()
    files = {name: file.read_bytes() for name, file in served_files().items()}

    async def root(request: Request) -> Response:
        if settings.page and "text/html" in request.headers.get("accept", ""):
            return _response(INDEX, html)
        about = {**await data_plane.live(), "name": app.title, "version": app.version, "models": "v2/models"}
        return _response("about.json", orjson.dumps(about))

    async def file(name: str) -> Response:
        if name in files:
            return _response(name, files[name])
        return _response("error.json", orjson.dumps({"error": "The page has no such file."}), 404)

    described = _Described(settings.limits)

    async def models() -> Response:
        known = data_plane.model_registry.get_models().values()
        return _response("models.json", await described.of(list(known)))

    routes: dict[str, Callable[..., Awaitable[Response]]] = {"/": root}
    if settings.page:
        routes |= {f"/{_FOLDER}{{name:path}}": file, "/models.json": models}
    for path, answer in routes.items():
        app.add_api_route(path, answer, methods=["GET", "HEAD"], response_model=None, include_in_schema=False)


def _response(name: str, content: bytes, status: int = 200) -> Response:
    return Response(content, status, {**HEADERS, "Vary": "Accept"}, media_type(Path(name)))


class _Described:
    """What the page knows of the models: made once, outside the event loop, and again when one becomes ready."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._made: tuple[list[bool], bytes] = ([], b"")
        self._one_at_a_time = asyncio.Lock()

    async def of(self, models: list[ExplainerModel]) -> bytes:
        async with self._one_at_a_time:
            ready = [model.ready for model in models]
            if self._made[0] != ready or not ready:
                self._made = ready, await asyncio.to_thread(self._json, models)
            return self._made[1]

    def _json(self, models: list[ExplainerModel]) -> bytes:
        about = {
            "models": [_model(model) for model in models],
            "max_body_bytes": self._limits.max_body_bytes,
            # The longest that a client waits: for sending, for the answer, and for receiving it.
            "timeout_s": self._limits.timeout_s + 2 * self._limits.client_timeout_s,
        }
        return shown_json_bytes(orjson.dumps(about))


def _model(model: ExplainerModel) -> dict[str, Any]:
    if not model.ready:
        return {"name": model.name, "ready": False}
    explainer = model.explainer
    method = {name: value for name, value in explainer.settings.items() if name != "selection"}
    count = explainer.classifier.n_classes
    return {
        "name": model.name,
        "ready": True,
        "n_classes": count,
        "labels": _labels(explainer.labels, count),
        "method": method,
    }


def _labels(labels: Sequence[str] | None, count: int) -> list[str] | None:
    """The names of all classes; None if they are too many, or too long, for a page."""
    if count > _MOST_LABELS:
        return None
    names = [class_name(labels, index) for index in range(count)]
    return names if sum(map(len, names)) <= _MOST_LETTERS else None
