"""Routes of the page: its files, and what it needs to know of the models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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

    async def models() -> Response:
        known = data_plane.model_registry.get_models().values()
        return _response("models.json", shown_json_bytes(orjson.dumps(_about(list(known), settings.limits))))

    routes: dict[str, Callable[..., Awaitable[Response]]] = {"/": root}
    if settings.page:
        routes |= {f"/{_FOLDER}{{name:path}}": file, "/models.json": models}
    for path, answer in routes.items():
        app.add_api_route(path, answer, methods=["GET", "HEAD"], response_model=None, include_in_schema=False)


def _response(name: str, content: bytes, status: int = 200) -> Response:
    return Response(content, status, {**HEADERS, "Vary": "Accept"}, media_type(Path(name)))


def _about(models: list[ExplainerModel], limits: Limits) -> dict[str, Any]:
    return {
        "models": [_model(model) for model in models],
        "max_body_bytes": limits.max_body_bytes,
        # The longest that a client waits: for sending, for the answer, and for receiving it.
        "timeout_s": limits.timeout_s + 2 * limits.client_timeout_s,
    }


def _model(model: ExplainerModel) -> dict[str, Any]:
    if not model.ready:
        return {"name": model.name, "ready": False}
    explainer = model.explainer
    method = {name: value for name, value in explainer.settings.items() if name != "selection"}
    labels = [class_name(explainer.labels, index) for index in range(explainer.classifier.n_classes)]
    return {"name": model.name, "ready": True, "labels": labels, "method": method}
