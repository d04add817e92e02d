"""ONNX files: complaints in words, external data, and nothing half-written."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import classifier

from secam_onnx.errors import ModelError, OutputError
from secam_onnx.graph import onnx_file
from secam_onnx.graph.onnx_file import read_model, weight_bytes, weights_moved_out
from secam_onnx.graph.onnx_file import write_model as write_small_model


def write_model(model: onnx.ModelProto, path: Path, *, overwrite: bool = False) -> None:
    """As `export` writes a model of any size."""
    with weights_moved_out(model, path):
        write_small_model(model, path, overwrite=overwrite)


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist; give the path"),
        (b"", "is empty; an ONNX model was expected"),
        (b"\xff\xfe not a protobuf" * 20, "is not an ONNX model, or it was cut off"),
        (b"\x08\x0a", "holds no ONNX graph"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "m.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        read_model(file)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_model(tmp_path: Path, share: float) -> None:
    data = classifier("flatten+fc").SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"m\.onnx .*(cut off|no ONNX graph)"):
        read_model(tmp_path / "m.onnx")


def test_write_refuses_to_overwrite(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_text("mine")
    with pytest.raises(OutputError, match=r"exists already; use --force"):
        write_model(classifier(), file)
    assert file.read_text() == "mine"
    write_model(classifier(), file, overwrite=True)
    assert weights_of(read_model(file)).keys() == weights_of(classifier()).keys()
    with pytest.raises(OutputError, match="is a folder"):
        write_model(classifier(), tmp_path)
    with pytest.raises(OutputError, match=r"the folder .*nowhere does not exist"):
        write_model(classifier(), tmp_path / "nowhere" / "m.onnx")


def test_large_models_use_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "EXTERNAL_DATA_LIMIT", 1000)
    file = tmp_path / "m.onnx"
    for seed in (1, 2):
        write_model(classifier("flatten+fc", classes=50, seed=seed), file, overwrite=True)
        assert len(list(tmp_path.iterdir())) == 2, "the data of the replaced model must go"
        expected = weights_of(classifier("flatten+fc", classes=50, seed=seed))
        found = weights_of(read_model(file, weights=True))
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
    (data,) = tmp_path.glob("*.data")
    assert data.stat().st_mode == file.stat().st_mode, "who may read the model may read its weights"
    monkeypatch.setattr(onnx_file, "EXTERNAL_DATA_LIMIT", 10**9)
    write_model(classifier(), file, overwrite=True)
    assert not data.exists()


def test_missing_external_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "EXTERNAL_DATA_LIMIT", 1000)
    write_model(classifier("flatten+fc", classes=50), tmp_path / "m.onnx")
    (data,) = tmp_path.glob("*.data")
    data.unlink()
    with pytest.raises(ModelError, match=r"wants the data of .*does not exist"):
        read_model(tmp_path / "m.onnx", weights=True)


def test_other_peoples_data_files_are_left_alone(tmp_path: Path) -> None:
    model = classifier("flatten+fc", classes=50)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    write_model(classifier(), tmp_path / "m.onnx", overwrite=True)
    assert (tmp_path / "weights.bin").exists()


@pytest.mark.parametrize("limit", [10**9, 1000], ids=["one file", "external data"])
def test_a_full_disk_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    file = tmp_path / "m.onnx"
    write_model(classifier(seed=1), file)
    before = file.read_bytes()
    monkeypatch.setattr(onnx_file, "EXTERNAL_DATA_LIMIT", limit)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)  # the last step; all has been written by then
    with pytest.raises(OutputError, match=r"No space left on device.*free some space"):
        write_model(classifier("flatten+fc", classes=50, seed=2), file, overwrite=True)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_the_size_of_the_weights_is_counted_without_protobuf() -> None:
    model = classifier("flatten+fc", classes=50)
    assert weight_bytes(model) == sum(value.nbytes for value in weights_of(model).values())
