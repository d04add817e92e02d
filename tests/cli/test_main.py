"""The command group itself: help, version, wrong commands, and that nothing heavy is imported before it is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

RunCli = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = ("explain", "export", "inspect")
OPTIONS = {
    "explain": "IMAGE --model --class --output --top-segments --threshold --coverage --segmenter --n-segments "
    "--compactness --label-map --pictures --provider --preprocess --labels --logits --features",
    "export": "SOURCE --output --source --weights --seed --preprocess --labels --logits --features --force",
    "inspect": "MODEL --json --labels --logits --features",
}
HEAVY = ("numpy", "onnx", "onnxruntime", "PIL", "skimage", "torch", "torchvision", "keras")


def python(code: str, folder: Path, *arguments: object) -> str:
    """Run Python code in a process of its own; gives what it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_all_commands(flag: str, run_cli: RunCli) -> None:
    result = run_cli(flag)
    assert (result.returncode, result.stderr) == (0, "")
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.startswith("  ")}
    for command in COMMANDS:
        assert len(lines[command]) > 3, "a command without a description"


def test_no_arguments_show_the_help(run_cli: RunCli) -> None:
    result = run_cli()
    assert (result.returncode, result.stdout) == (2, "")
    assert all(command in result.stderr for command in COMMANDS)


def test_the_installed_command_tells_its_version(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("secam-onnx")
    result = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert version("secam-onnx") in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["explan"], ["'explan' is not a command", "'explain'"]),
        (["--frobnicate"], ["No such option", "--frobnicate"]),
        (["explain"], ["Missing argument", "IMAGE"]),
        (["export"], ["Missing argument", "SOURCE"]),
        (["inspect", "a.onnx", "b.onnx"], ["unexpected extra argument", "b.onnx"]),
    ],
)
def test_a_wrong_command_line(arguments: list[str], words: list[str], run_cli: RunCli) -> None:
    result = run_cli(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    assert all(word in result.stderr for word in words)
    assert re.search(r"Try '.* (-h|--help)' for help", result.stderr)  # as the version of click has it


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_names_every_option(command: str, run_cli: RunCli) -> None:
    result = run_cli(command, "-h")
    assert (result.returncode, result.stderr) == (0, "")
    words = set(result.stdout.replace(",", " ").split())
    missing = [option for option in OPTIONS[command].split() if not any(word.startswith(option) for word in words)]
    assert missing == []


@pytest.mark.parametrize(
    "code",
    [
        "import secam_onnx",
        "import secam_onnx.cli",
        *(f"import secam_onnx.cli.{command}" for command in COMMANDS),
        "from secam_onnx.cli import main; sys.argv[1:] = ['explain', '--help']",
    ],
)
def test_nothing_heavy_is_imported_early(code: str, tmp_path: Path) -> None:
    run = "\ntry:\n    main()\nexcept SystemExit:\n    pass" if "main" in code else ""
    report = f"\nprint('HEAVY', sorted(set(sys.modules) & set({HEAVY!r})))"
    assert python(f"import sys\n{code}{run}{report}", tmp_path).splitlines()[-1] == "HEAVY []"


def test_explaining_never_imports_a_training_framework(photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="it could not be imported anyway")
    code = """
import sys
from secam_onnx.cli import main
sys.argv[1:] = ["explain", sys.argv[1]]
try:
    main()
except SystemExit as end:
    print("CODE", end.code)
print("FOUND", sorted({"torch", "torchvision", "keras", "tensorflow", "onnxscript"} & set(sys.modules)))
"""
    assert python(code, tmp_path, photo).splitlines()[-2:] == ["CODE 0", "FOUND []"]
