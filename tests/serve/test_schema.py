"""The server against its own OpenAPI: schemathesis makes requests of it, good and bad, and reads what comes back."""

from __future__ import annotations

import base64
import contextlib
import importlib
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from PIL import Image

pytest.importorskip("kserve")
import httpx

schemathesis = pytest.importorskip("schemathesis")
generation = importlib.import_module("schemathesis.generation")
checks = importlib.import_module("schemathesis.specs.openapi.checks")


def picture(size: tuple[int, int], form: str) -> bytes:
    pixels = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


FORMS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
PICTURES = [picture((height, 20), form) for height in (8, 30) for form in FORMS.values()]
schemathesis.openapi.format("image-base64", st.sampled_from([base64.b64encode(data).decode() for data in PICTURES]))
for kind in FORMS:
    schemathesis.openapi.media_type(kind, st.sampled_from(PICTURES) | st.binary(max_size=40))

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


@pytest.fixture(scope="session")
def api(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


OPERATIONS = [
    *(("GET", path) for path in ("/v1/models", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models")),
    *(("GET", f"{path}/{{model_name}}") for path in ("/v1/models", "/v2/models")),
    ("GET", "/v2/models/{model_name}/ready"),
    *(("POST", f"/v1/models/{{model_name}}:{verb}") for verb in ("predict", "explain")),
    ("POST", "/v2/models/{model_name}/infer"),
    *(("POST", f"/v2/repository/models/{{model_name}}/{verb}") for verb in ("load", "unload")),
]
MODES = {"good": generation.GenerationMode.POSITIVE, "bad": generation.GenerationMode.NEGATIVE}


# Not schemathesis's own decorator: with its plugin, pytest 9.2 has no ids for such tests.
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_comes_is_what_is_described(api, method, path, mode):
    operation = api[path][method]

    @settings(
        max_examples=40 if method == "POST" else 8,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=MODES[mode]))
    def check(case):
        case.call_and_validate(checks=CHECKS, timeout=120)

    with contextlib.suppress(Unsatisfiable):  # where there is nothing to do wrong
        check()


def test_the_description_is_valid_and_whole(server, api):
    document = httpx.get(f"{server.url}/openapi.json").json()
    api.validate()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == set(OPERATIONS)
    assert document["openapi"] == "3.1.0"
    names = document["paths"]["/v1/models/{model_name}:explain"]["post"]["parameters"][0]["schema"]["enum"]
    assert names == ["lite", "tiny", "tiny-2.b"]
    assert "security" not in document


def test_the_server_never_failed(server):
    assert server.failures() == []
