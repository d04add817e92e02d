"""The explainer in a real Triton server, the one that NVIDIA's pytriton carries, asked by Triton's own clients.

Its Python backend (Triton 2.51) takes NumPy 1 only, and loads the system's libpython.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secam_onnx import Explainer, Segmenter
from secam_onnx.serve.request.parameters import OUTPUTS

if find_spec("kserve"):
    pytest.skip("KServe's classes of the protocol and tritonclient's cannot be in one process", allow_module_level=True)
pytriton, http = find_spec("pytriton"), pytest.importorskip("tritonclient.http")
grpc = pytest.importorskip("tritonclient.grpc")
if pytriton is None or pytriton.origin is None:
    pytest.skip("there is no Triton: pip install --no-deps nvidia-pytriton", allow_module_level=True)
if int(np.__version__.split(".")[0]) > 1:
    pytest.skip("this Triton's Python backend takes NumPy 1 only", allow_module_level=True)
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
if ctypes.util.find_library(f"python{PYTHON}") is None:
    pytest.skip(f"there is no libpython{PYTHON}; on Debian: apt-get install libpython{PYTHON}", allow_module_level=True)

NAME = "secam_explainer"


@pytest.fixture(scope="module")
def triton(deploy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses of a server, over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("triton")
    server = Path(pytriton.origin).parent / "tritonserver"
    backends = shutil.copytree(server / "backends", folder / "backends")
    shutil.copy(server / "python_backend_stubs" / PYTHON / "triton_python_backend_stub", backends / "python")
    model = shutil.copytree(deploy / "triton" / NAME, folder / "models" / NAME) / "1"
    # The embedded Python knows neither virtual environments nor PYTHONPATH.
    (model / "model.py").rename(model / "explainer.py")
    packages = [entry for entry in sys.path if entry]
    (model / "model.py").write_text(
        f"import sys\nsys.path[:0] = {packages!r}\nfrom explainer import TritonPythonModel\n"
    )
    for program in (server / "bin" / "tritonserver", backends / "python" / "triton_python_backend_stub"):
        program.chmod(0o755)
    ports = [_free_port(), _free_port()]
    command = [
        *(server / "bin" / "tritonserver", "--model-repository", folder / "models"),
        *("--backend-directory", backends, "--allow-metrics", "false", "--exit-timeout-secs", "3"),
        *("--http-address", "127.0.0.1", "--http-port", ports[0]),
        *("--grpc-address", "127.0.0.1", "--grpc-port", ports[1]),
    ]
    libraries = str(server.parent.parent / "nvidia_pytriton.libs")
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)), stdout=file, stderr=file, env={**os.environ, "LD_LIBRARY_PATH": libraries}
        )
    try:
        with http.InferenceServerClient(f"127.0.0.1:{ports[0]}") as client:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    if client.is_server_ready():
                        break
                assert process.poll() is None, log.read_text(errors="replace")
                time.sleep(0.1)
            else:
                pytest.fail(log.read_text(errors="replace"))
        yield f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(params=["http", "grpc"])
def client(triton: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[tuple[ModuleType, Any]]:
    module = http if request.param == "http" else grpc
    with module.InferenceServerClient(triton[module is grpc]) as opened:
        yield module, opened


def files(module: ModuleType, *data: bytes) -> Any:
    given = module.InferInput("encoded_image", [len(data), 1], "BYTES")
    given.set_data_from_numpy(np.array(data, dtype=np.object_)[:, None])
    return given


def pixels(module: ModuleType, pictures: np.ndarray) -> Any:
    given = module.InferInput("image", list(pictures.shape), "UINT8")
    given.set_data_from_numpy(np.ascontiguousarray(pictures))
    return given


def wanted(module: ModuleType, *names: str) -> list[Any]:
    return [module.InferRequestedOutput(name) for name in names]


def test_every_output_is_the_explainers(client, photo: Path, explainer: Explainer) -> None:
    module, triton = client
    result = triton.infer(
        NAME, [files(module, photo.read_bytes())], parameters={"top_k": 3}, outputs=wanted(module, *OUTPUTS)
    )
    expected = explainer.explain(photo, "top-3")
    value = {name: result.as_numpy(name)[0] for name in OUTPUTS}
    assert value["class_ids"].tolist() == [entry.index for entry in expected.classes]
    assert [label.decode() for label in value["class_labels"]] == [entry.label for entry in expected.classes]
    np.testing.assert_allclose(
        value["class_probabilities"], [entry.probability for entry in expected.classes], rtol=1e-5
    )
    np.testing.assert_allclose(value["class_logits"], [entry.logit for entry in expected.classes], rtol=1e-5)
    np.testing.assert_allclose(value["bias"], expected.bias, rtol=1e-5)
    np.testing.assert_allclose(value["cam"], expected.cam, atol=1e-5)
    np.testing.assert_array_equal(value["segments"], expected.segments)
    assert value["n_segments"].tolist() == [expected.segment_scores.shape[1]]
    np.testing.assert_allclose(value["segment_scores"], expected.segment_scores, atol=1e-5)
    np.testing.assert_allclose(value["segment_contributions"], expected.segment_contributions, atol=1e-5)
    np.testing.assert_array_equal(value["box"], expected.geometry.box)
    np.testing.assert_array_equal(value["image_size"], expected.geometry.image_size)
    assert value["overlay"].shape == (3, 224, 224, 3)
    with Image.open(io.BytesIO(value["overlay_png"][1])) as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected.overlay(expected.classes[1].index)))


def test_arrays_are_photographs_too(client, chelsea: np.ndarray, explainer: Explainer) -> None:
    module, triton = client
    pictures = np.stack([chelsea, chelsea[:, ::-1]])
    result = triton.infer(NAME, [pixels(module, pictures)], outputs=wanted(module, "class_ids", "class_logits"))
    expected = [explainer.explain(picture).classes[0] for picture in pictures]
    assert result.as_numpy("class_ids").tolist() == [[entry.index] for entry in expected]
    np.testing.assert_allclose(result.as_numpy("class_logits")[:, 0], [entry.logit for entry in expected], rtol=1e-5)


@pytest.mark.parametrize("classes", ["tabby,285", '["tabby", 285]'])
def test_parameters(client, classes: str, photo: Path) -> None:
    module, triton = client
    result = triton.infer(
        NAME,
        [files(module, photo.read_bytes())],
        parameters={"classes": classes, "n_segments": 12},
        outputs=wanted(module, "class_ids", "n_segments", "segments"),
    )
    assert result.as_numpy("class_ids").tolist() == [[281, 285]]
    few = Explainer(providers="cpu", segmenter=Segmenter(n_segments=12)).explain(photo)
    np.testing.assert_array_equal(result.as_numpy("segments")[0], few.segments)


@pytest.mark.parametrize(
    ("parameters", "names", "message"),
    [
        ({"classes": "tabbi"}, ["class_logits"], "Unknown class 'tabbi'"),
        ({"classes": ""}, ["class_logits"], "'classes' is empty"),
        ({"classes": "[1"}, ["class_logits"], "'classes' is not a valid JSON list"),
        ({"classes": "[true]"}, ["class_logits"], "names, indices, top-K or all were expected"),
        ({"class": 1}, ["class_logits"], "Unknown parameter 'class'"),
        ({"top_k": 1001}, ["class_logits"], "'top_k' is 1001; a whole number from 1 to 1000 was expected"),
        ({"top_k": "many"}, ["class_logits"], "'top_k' is 'many'; a whole number from 1 to 1000 was expected"),
        ({"n_segments": 0}, ["class_logits"], "'n_segments' is 0; a whole number from 1 to 1000 was expected"),
        ({"classes": "all"}, ["overlay"], "ask for fewer classes, or for no pictures"),
    ],
)
def test_bad_parameters_are_the_clients_error(client, parameters, names, message: str, photo: Path) -> None:
    module, triton = client
    with pytest.raises(Exception, match=r"400|INVALID_ARGUMENT") as raised:
        triton.infer(NAME, [files(module, photo.read_bytes())], parameters=parameters, outputs=wanted(module, *names))
    assert message in raised.value.message()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "encoded_image[0] is empty"), (b"no image", "not an image"), (b"\xff\xd8\xff\xe0cut", "encoded_image[0]")],
)
def test_bad_photographs_are_the_clients_error(client, data: bytes, message: str) -> None:
    module, triton = client
    with pytest.raises(Exception, match=r"400|INVALID_ARGUMENT") as raised:
        triton.infer(NAME, [files(module, data)], outputs=wanted(module, "class_logits"))
    assert message in raised.value.message()  # type: ignore[attr-defined]


def test_one_input_is_expected(client, photo: Path, chelsea: np.ndarray) -> None:
    module, triton = client
    both = [files(module, photo.read_bytes()), pixels(module, chelsea[None])]
    with pytest.raises(Exception, match="There are 2 inputs"):
        triton.infer(NAME, both, outputs=wanted(module, "class_logits"))


def test_requests_that_share_a_run_keep_their_own_answers_and_errors(
    triton: tuple[str, str], photo: Path, chelsea: np.ndarray
) -> None:
    def ask(number: int) -> object:
        with http.InferenceServerClient(triton[0]) as client:
            try:
                if number % 4 == 0:
                    given = files(http, b"no image")
                elif number % 4 == 1:
                    given = pixels(http, chelsea[None, :, : 300 + number])
                else:
                    given = files(http, photo.read_bytes())
                parameters = {"classes": str(number)} if number % 4 != 2 else {"top_k": number}
                found = client.infer(NAME, [given], parameters=parameters, outputs=wanted(http, "class_ids"))
                return found.as_numpy("class_ids").tolist()
            except http.InferenceServerException as error:
                return error.message()

    best = ask(18)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(32)))
    for number, answer in enumerate(answers):
        if number % 4 == 0:
            assert "not an image" in answer
        elif number % 4 == 2:
            assert answer[0][: min(number, 18)] == best[0][: min(number, 18)]
            assert len(answer[0]) == number
        else:
            assert answer == [[number]]
    with http.InferenceServerClient(triton[0]) as client:
        (figures,) = client.get_inference_statistics(NAME)["model_stats"]
    assert figures["execution_count"] < figures["inference_count"]
