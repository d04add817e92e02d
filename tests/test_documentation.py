"""The snippets of the documentation, run as they stand there, and what its tables name."""

from __future__ import annotations

import doctest
import inspect
import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
import tifffile
from click.testing import CliRunner
from encoders import LENGTH, clip_like, encoder
from other_inputs import classifier_of
from PIL import Image
from snippets import PAGES, ROOT, Block, blocks, commands, expected_in
from tails import network
from tiny_models import classifier
from token_networks import transformer

from secam_onnx.cli import command as secam_onnx_command

README = (ROOT / "README.md").read_text(encoding="utf-8")
WRITTEN = {
    "README.md": ["why.png"],
    "docs/how-to/one-file.md": ["why-7.png"],
    "docs/how-to/pictures.md": ["kept.png", "heat.png", "panel.png"],
}
TWO_HEADS = "age = Gemm <transB = 1> (net_q, w_1x6, b_1) gender = Softmax (z)"
OTHERS_OPTIONS = {"--build-arg", "--cpus", "--ignore-scripts", "--preload"}  # of docker, npm and gunicorn
LANGUAGES = {"sh", "console", "python", "js", "sql", "json", "powershell", "bibtex", "nginx"}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path: Path, photo: Path) -> Path:
    """What the snippets talk of: photographs, and ONNX classifiers with class names."""
    with Image.open(photo) as opened:
        opened.convert("RGB").save(tmp_path / "photo.jpg")
    onnx.save(classifier(classes=400), tmp_path / "classifier.onnx")
    onnx.save(network(TWO_HEADS, "age; gender", classes=2), tmp_path / "age-gender.onnx")
    onnx.save(transformer(1, 0, positions_first=False), tmp_path / "vit.onnx")
    write_encoders(tmp_path)
    random = np.random.default_rng(0)
    for image, model, channels in (("lungs", "x-ray", 1), ("scene", "bands", 12)):
        onnx.save(classifier_of(("N", channels, 32, 32), channels=channels), tmp_path / f"{model}.onnx")
        pages = random.integers(0, 4096, (channels, 60, 80)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{image}.tif", pages, photometric="minisblack")
    (tmp_path / "names.txt").write_text("\n".join(f"name {index}" for index in range(400)))
    (tmp_path / "photos").mkdir()
    for name in (*"012", "photos/0"):
        shutil.copy(tmp_path / "photo.jpg", tmp_path / f"{name}.jpg")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(tmp_path / "photo.jpg", "0001.jpg")
    (tmp_path / "list.txt").write_text("photos\nphoto.jpg\n")
    return tmp_path


def write_encoders(folder: Path) -> None:
    onnx.save(encoder(), folder / "encoder.onnx")
    onnx.save(clip_like(), folder / "clip.onnx")
    np.save(folder / "vectors.npy", np.random.default_rng(0).standard_normal((3, LENGTH)))
    np.savez(folder / "tokens.npz", input_ids=np.ones((3, 2), int), attention_mask=np.ones((3, 2), int))
    (folder / "texts.txt").write_text("a photo of a cat\na photo of a dog\na photo of a train\n")


def test_every_block_says_what_it_is() -> None:
    """A block without a language, or of a language that no test looks at, would never be tried."""
    for page in PAGES:
        fences = re.findall(r"^```.*$", text_of(page), flags=re.MULTILINE)
        opening = [fence for fence in fences[::2] if not fence.startswith("```{")]
        assert {fence.removeprefix("```") for fence in opening} <= LANGUAGES, page
        assert len(blocks(page)) == len(opening), page


def test_commands_that_run_are_ours() -> None:
    for page in PAGES:
        for block in (*blocks(page, "sh"), *blocks(page, "console")):
            for command, _ in commands(block):
                assert not block.is_run or command.startswith("secam-onnx "), f"{page}: say why {command!r} is not run"


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(commands, blocks(page, "sh")))])
def test_options_exist(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of the commands that are not run."""
    monkeypatch.setattr("secam_onnx.cli.options.limit_memory", lambda _: None)  # which would hold for all tests
    monkeypatch.setattr("secam_onnx.cli.options.watch.end_after", lambda _: None)
    for block in blocks(page, "sh"):
        for line, _ in commands(block):
            if line.startswith("secam-onnx "):
                name, *arguments = shlex.split(line, comments=True)[1:]
                found = secam_onnx_command.get_command(secam_onnx_command.make_context("secam-onnx", [name]), name)
                assert found is not None, line
                found.make_context(name, arguments)


def test_options_in_the_text_exist() -> None:
    known = {"--help", *OTHERS_OPTIONS}
    for name in secam_onnx_command.list_commands(click.Context(secam_onnx_command)):
        found = secam_onnx_command.get_command(click.Context(secam_onnx_command), name)
        assert found is not None
        known |= {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", " ".join(re.findall(r"`([^`]+)`", prose))))
        assert named - known == set(), page


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.is_run for block in blocks(page))])
def test_snippets(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page; its Python blocks share their names."""
    monkeypatch.chdir(workplace)
    names: dict[str, Any] = {}
    for block in blocks(page):
        if not block.is_run:
            continue
        if block.language in {"sh", "console"}:
            for command, shown in commands(block):
                _run_command(command, shown, workplace)
        elif block.language == "python":
            exec(compile(block.text, page, "exec"), names)
            for name in [name for name in names if name.startswith("test_")]:
                names.pop(name)()  # as pytest does with it
        elif block.language == "json" and block.marker.startswith("beginning of: "):
            _compare(block, workplace)
    for file in WRITTEN.get(page, []):
        assert (workplace / file).exists(), file


def _run_command(command: str, shown: str, workplace: Path) -> None:
    _, *arguments = shlex.split(command, comments=True)
    if "parquet" in arguments:
        pytest.importorskip("pyarrow")
    if "*.jpg" in arguments:  # as a shell expands it
        at = arguments.index("*.jpg")
        arguments[at : at + 1] = sorted(path.name for path in workplace.glob("*.jpg"))
    done = CliRunner().invoke(secam_onnx_command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, f"{command}\n{done.output}"
    if shown:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(shown, done.stdout, flags), f"{command}\n{done.stdout}"


def _compare(block: Block, workplace: Path) -> None:
    """A file as the commands of the tutorial leave it."""
    file = workplace / block.marker.removeprefix("beginning of: ")
    _run_command("secam-onnx explain photo.jpg -o why", "", workplace)
    expected_in(json.loads(block.text), json.loads(file.read_text(encoding="utf-8")))


def test_powershell_gets_the_first_command_in_its_own_words() -> None:
    """Version 5, which Windows comes with, knows no `&&`."""
    (line,) = (block.text for block in blocks("README.md", "powershell"))
    shell = next(block.text for block in blocks("README.md", "sh") if block.marker == "ci: try")
    assert line == shell.replace("python3", "py").replace(" && ", "; ").replace(".venv/bin/", ".venv\\Scripts\\")
    assert not re.search(r"&&|\|\||[$`]", line)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 180


def test_the_readme_has_the_commands_that_ci_runs() -> None:
    assert [block.marker for block in blocks("README.md", "sh") if block.marker.startswith("ci: ")] == [
        "ci: try",
        "ci: tests",
    ]


@pytest.mark.parametrize("page", PAGES)
def test_pictures_and_links_exist(page: str) -> None:
    """The site's build checks this too, but not the README."""
    for target in re.findall(r"\]\(([^)#: ]+)(?:#[^)]*)?\)", text_of(page)):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_picture_is_that_run(photo: Path) -> None:
    """`docs/chelsea-panel.png` is what the first command writes; versions of Pillow may draw letters differently."""
    from secam_onnx import Explainer

    drawn = np.asarray(Explainer(providers="cpu").explain(photo).panel()).astype(int)
    with Image.open(ROOT / "docs" / "chelsea-panel.png") as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert drawn.shape == shown.shape
    assert np.abs(drawn - shown).mean() < 2


def test_the_matrix_names_every_network_that_is_tried() -> None:
    table = text_of("docs/explanation/tried.md")
    import cells

    for part in (cells.PYTORCH, cells.CLASS_TOKEN, cells.KERAS, cells.TENSORFLOW, cells.PADDLE, cells.CAFFE2):
        for name, cell in part.items():
            row = next((line for line in table.splitlines() if re.search(rf"\b{name.split()[0]}\b", line)), "")
            assert row, f"{name} is missing"
            assert name == "googlenet aux" or cell.head in table


def keys_of(value: object) -> set[str]:
    """The keys of JSON, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def quoted_in(page: str) -> set[str]:
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"[A-Za-z_0-9]+", " ".join(re.findall(r"`([^`]+)`", prose))))


def test_reference_of_files_names_all_that_is_written(photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from secam_onnx import Explainer
    from secam_onnx.batch.rows import schema

    explanation = Explainer().explain(photo)
    explanation.save(tmp_path / "why")
    written = json.loads((tmp_path / "why" / "explanation.json").read_text(encoding="utf-8"))
    written["method"]["preprocessing"] = dict.fromkeys(("note", "warning"))  # `Preprocessing` has the others
    with np.load(tmp_path / "why" / "arrays.npz") as arrays:
        known = keys_of(written) | set(arrays.files) | set(schema({}, label_maps=True).names)
    assert known - quoted_in("docs/reference/files.md") == set()


def test_reference_of_models_names_all_tensors(tmp_path: Path) -> None:
    from secam_onnx import fuse

    onnx.save(classifier(classes=4), tmp_path / "plain.onnx")
    fuse(tmp_path / "plain.onnx", tmp_path / "fused.onnx")
    graph = onnx.load(tmp_path / "fused.onnx").graph
    own = {"logits"}
    tensors = {value.name for value in (*graph.input, *graph.output)} - own
    assert tensors - quoted_in("docs/reference/models.md") == set()


def test_reference_of_metadata_names_every_entry(tmp_path: Path) -> None:
    """The page is made of these docstrings."""
    from secam_onnx import fuse
    from secam_onnx.classifier import metadata

    onnx.save(classifier(classes=4), tmp_path / "plain.onnx")
    fuse(tmp_path / "plain.onnx", tmp_path / "fused.onnx")
    (entry,) = (prop.value for prop in onnx.load(tmp_path / "fused.onnx").metadata_props if prop.key == "secam_onnx")
    written = json.loads(entry)
    parts = {
        metadata.ModelMetadata: written,
        metadata.HeadRecord: written["head"],
        metadata.FusedRecord: written["fused"],
    }
    for class_, part in parts.items():
        described = (inspect.getdoc(class_) or "").split("Attributes\n")[1]
        assert {name for name in part if not re.search(rf"^(\w+, )*{name}\b", described, re.MULTILINE)} <= {"schema"}


def test_reference_of_python_has_every_public_name() -> None:
    import secam_onnx
    from secam_onnx import export

    page = text_of("docs/reference/python.md")
    described = set(re.findall(r"\.\. auto(?:class|function):: (?:[\w.]+\.)?(\w+)", page))
    assert {*secam_onnx.__all__, *export.__all__} - {"SecamError"} <= described  # which the page about errors has


def test_figures_of_faithfulness_are_those_of_the_studies() -> None:
    studies = text_of("studies/attributions/README.md") + text_of("studies/segmenters/README.md")
    tables = [line for line in text_of("docs/explanation/trust.md").splitlines() if line.startswith("| ")]
    figures = {cell.strip() for line in tables for cell in line.split("|") if re.match(r" -?\d\.\d{3} \[", cell)}
    assert len(figures) > 5
    assert {figure for figure in figures if figure not in studies} == set()


def test_architecture_names_modules_that_exist() -> None:
    package = ROOT / "secam_onnx"
    for name in re.findall(r"`([a-z]+(?:/[a-z_]+)+/?|[a-z]+/)`", text_of("docs/explanation/architecture.md")):
        assert (package / name).exists() or (package / f"{name}.py").exists() or name.startswith("tests/"), name


def test_the_tests_that_hold_a_promise_exist() -> None:
    promised = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## What is not promised")[0]
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", promised)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "tests" / name).exists()] == []
