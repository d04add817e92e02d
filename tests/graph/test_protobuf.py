"""Metadata of a model file, read without onnx."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from secam_onnx.graph.protobuf import read_metadata


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_models.classifier()
    for key, value in {"a": "1", "long": "x" * 100_000, "猫": "«é»", "empty": ""}.items():
        model.metadata_props.add(key=key, value=value)
    path = tmp_path_factory.mktemp("wire") / "model.onnx"
    onnx.save(model, path)
    return path


def test_all_of_them(file: Path) -> None:
    assert read_metadata(file) == {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def test_a_model_without_any(tmp_path: Path) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "model.onnx")
    assert read_metadata(tmp_path / "model.onnx") == {}


@given(st.binary(max_size=200))
def test_what_is_no_model_has_none(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(data)
    assert all(isinstance(text, str) for pair in read_metadata(path).items() for text in pair)


@given(st.integers(0, 200_000))
def test_a_file_that_was_cut_off(file: Path, tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.mktemp("part") / "file"
    path.write_bytes(file.read_bytes()[:length])
    whole = read_metadata(file)
    assert read_metadata(path).items() <= whole.items()


def test_entries_that_are_none(tmp_path: Path) -> None:
    """Others' are no reason to miss ours behind them."""
    model = tiny_models.classifier()
    model.metadata_props.add(key="without a value")
    model.metadata_props.add(key="binary", value="??")
    for value in ("first", "second"):
        model.metadata_props.add(key="ours", value=value)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(b"??", b"\xff\xfe"))
    assert read_metadata(path) == {"ours": "first"}
