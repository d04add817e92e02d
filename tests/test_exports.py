"""The names that the package promises: they are there, sorted, and documented, and the pages promise no others."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import secam_onnx

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|module|exception)::\s+([\w.]+)", re.MULTILINE)


def in_type_checks() -> dict[str, str]:
    """The names that type checkers see in the package, and the modules that they come from."""
    (block,) = (
        node for node in ast.parse(Path(secam_onnx.__file__).read_text("utf-8")).body if isinstance(node, ast.If)
    )
    return {
        alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def found(name: str) -> object:
    """What a dotted name stands for; whatever stands before the last dot may be a module or a class."""
    parts = name.split(".")
    place: object = importlib.import_module(parts[0])
    for index, part in enumerate(parts[1:], start=2):
        if not hasattr(place, part):
            importlib.import_module(".".join(parts[:index]))
        place = getattr(place, part)
    return place


def promised(text: str) -> set[str]:
    """Dotted names that a page writes out, imports in its examples, or documents."""
    names = set(re.findall(r"\bsecam_onnx(?:\.[A-Za-z]\w*)+", text))
    for module, imported in re.findall(r"^ *from (secam_onnx[\w.]*) import ([\w, ]+)$", text, re.MULTILINE):
        names |= {f"{module}.{name.strip()}" for name in imported.split(",")}
    return names | {name if "." in name else f"secam_onnx.{name}" for name in DIRECTIVE.findall(text)}


def test_names_are_sorted() -> None:
    assert secam_onnx.__all__ == sorted(secam_onnx.__all__)
    assert dir(secam_onnx) == secam_onnx.__all__


def test_type_checkers_see_the_same() -> None:
    assert sorted(in_type_checks()) == secam_onnx.__all__


@pytest.mark.parametrize("name", secam_onnx.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    exported = getattr(secam_onnx, name)
    assert exported is getattr(importlib.import_module(in_type_checks()[name]), name)
    assert exported.__name__ == name
    assert inspect.getdoc(exported)
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    assert name in DIRECTIVE.findall(pages) or exported.__module__ in DIRECTIVE.findall(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_promises_is_there(page: Path) -> None:
    for name in sorted(promised(page.read_text("utf-8"))):
        assert found(name) is not None, name


def test_an_unknown_name_is_none() -> None:
    with pytest.raises(AttributeError, match="'secam_onnx' has no attribute 'Explainers'"):
        _ = secam_onnx.Explainers
