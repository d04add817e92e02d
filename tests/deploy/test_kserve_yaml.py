"""InferenceServices against the typed models of KServe's and Kubernetes' clients, and their arguments in a real server.

The models are generated from the Go types that the resource's published schema is generated from; no package has that
schema itself.
"""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from served import explained, served, status

from secam_onnx.default_model import default_model

kserve = pytest.importorskip("kserve")
kubernetes = pytest.importorskip("kubernetes")
yaml = pytest.importorskip("yaml")

PLAIN = {"str": str, "int": int, "float": (int, float), "bool": bool, "object": object}


def check(value: Any, kind: str, where: str = "") -> None:
    """Complain about what the type has not: fields, kinds of values, required fields that are missing."""
    if inner := re.fullmatch(r"(?:list\[|dict[(\[]str, )(.*)[\])]", kind, re.IGNORECASE):
        assert isinstance(value, list if kind.lower().startswith("list") else dict), f"{where} is {value!r}"
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            check(item, inner[1], f"{where}.{key}")
    elif kind in PLAIN:
        assert isinstance(value, PLAIN[kind]), f"{where} is {value!r}; {kind} was expected"
        assert kind in ("bool", "object") or not isinstance(value, bool), f"{where} is {value!r}"
    else:
        model = getattr(kserve, kind, None) or getattr(kserve.models, kind, None) or getattr(kubernetes.client, kind)
        assert isinstance(value, dict), f"{where} is {value!r}; {kind} was expected"
        names = {name: attribute for attribute, name in model.attribute_map.items()}
        assert not set(value) - set(names), f"{where} has {set(value) - set(names)}, which {kind} has not"
        for name, item in value.items():
            check(item, model.openapi_types[names[name]], f"{where}.{name}")
        model(**{names[name]: item for name, item in value.items()})  # complains about what is missing


@pytest.fixture(params=["predictor", "explainer"])
def service(deploy: Path, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, yaml.safe_load((deploy / "kserve" / f"{request.param}.yaml").read_text())


def arguments(role: str, service: dict[str, Any]) -> list[str]:
    """Those of our container, as KServe's controller completes them."""
    (container,) = service["spec"][role]["containers"]
    name = service["metadata"]["name"]
    added = ["--model_name", name, "--predictor_host", f"{name}-predictor.default", "--http_port", "8080"]
    return [*container["args"], *(added if role == "explainer" else [])]


def test_it_is_an_inference_service(service) -> None:
    check(service[1], "V1beta1InferenceService")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spec", "predictor", "container"), [], "'container'"),
        (("spec", "predictor", "minReplicas"), "1", r"minReplicas is '1'"),
        (("spec", "predictor", "containers", 0, "ports", 0), {"protocol": "TCP"}, r"container_?[pP]ort"),
    ],
)
def test_the_check_can_fail(deploy: Path, path: tuple, value: object, message: str) -> None:
    service = yaml.safe_load((deploy / "kserve" / "predictor.yaml").read_text())
    inner = service
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises((AssertionError, ValueError), match=message):
        check(service, "V1beta1InferenceService")


def test_a_server_takes_the_arguments(service, tmp_path: Path, photo: Path) -> None:
    role, description = service
    (tmp_path / "cats.onnx").symlink_to(default_model())
    options = [str(tmp_path) if option == "/mnt/models" else option for option in arguments(role, description)]
    with served([sys.executable, "-m", "secam_onnx", "serve", *options]) as (process, address):
        assert explained(address, "cats", photo.read_bytes())["label"] == "tiger cat"
        (container,) = description["spec"][role]["containers"]
        for probe in ("readinessProbe", "livenessProbe"):
            assert status(address + container[probe]["httpGet"]["path"]) == 200
        process.terminate()
        assert process.wait(60) == 0


def test_ports_and_time_agree(service) -> None:
    role, description = service
    options = arguments(role, description)
    (container,) = description["spec"][role]["containers"]
    (port,) = [entry["containerPort"] for entry in container["ports"]]
    given = dict(itertools.pairwise(options))
    assert str(port) == given.get("--port", given.get("--http_port"))
    assert float(given["--grace"]) < 30  # terminationGracePeriodSeconds' default
