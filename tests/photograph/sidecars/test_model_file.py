"""Which file a path means, and where the files beside it are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from secam_onnx.errors import ModelError
from secam_onnx.graph.locate import model_file
from secam_onnx.photograph.sidecars.beside_model import preprocessing_beside
from secam_onnx.photograph.sidecars.stated_labels import stated_labels

PROCESSOR = '{"image_processor_type": "ViTImageProcessor", "size": 32}'
NAMES = '{"id2label": {"0": "a", "1": "b"}}'


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()


def test_a_folder_means_the_model_in_it(tmp_path: Path) -> None:
    assert model_file(tmp_path / "any.onnx") == tmp_path / "any.onnx"
    touch(tmp_path / "net.ONNX", tmp_path / "config.json")
    assert model_file(tmp_path) == tmp_path / "net.ONNX"
    touch(tmp_path / "onnx" / "model.onnx")
    assert model_file(str(tmp_path)) == tmp_path / "onnx" / "model.onnx"
    touch(tmp_path / "model.onnx")
    assert model_file(tmp_path) == tmp_path / "model.onnx"


def test_a_folder_with_none_or_several(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no \.onnx file; give the path of a model"):
        model_file(tmp_path)
    touch(*(tmp_path / f"{name}.onnx" for name in "ab"))
    with pytest.raises(ModelError, match=r"holds 2 models \(a\.onnx, b\.onnx\); give the path of one"):
        model_file(tmp_path)
    touch(*(tmp_path / f"{name}.onnx" for name in "cdefghijkl"))
    with pytest.raises(ModelError, match=r"holds 12 models \(a\.onnx.*j\.onnx, \.\.\.\)"):
        model_file(tmp_path)


@pytest.mark.parametrize("place", [".", ".."])
def test_optimums_folder_has_them_inside_or_above(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "onnx"
    folder.mkdir()
    (folder / place / "preprocessor_config.json").write_text(PROCESSOR)
    (folder / place / "config.json").write_text(NAMES)
    monkeypatch.chdir(folder)
    for model in (folder / "model.onnx", Path("model.onnx"), "../onnx/model.onnx"):
        settings, _ = preprocessing_beside(model)
        assert settings is not None
        assert settings.size == (32, 32)
        assert stated_labels({}, model, 2)[0] == ("a", "b")


def test_only_that_folder_looks_above(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(NAMES)
    assert stated_labels({}, tmp_path / "other" / "model.onnx", 2) == (None, "")


def test_a_model_that_is_a_link_as_in_hugging_faces_cache(tmp_path: Path) -> None:
    touch(tmp_path / "blobs" / "123")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "model.onnx").symlink_to(tmp_path / "blobs" / "123")
    (snapshot / "config.json").write_text(NAMES)
    assert stated_labels({}, model_file(snapshot), 2)[0] == ("a", "b")


def test_a_folder_of_that_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    (tmp_path / "preprocessor_config.json").mkdir()
    assert stated_labels({}, tmp_path / "model.onnx", 2) == (None, "")
    assert preprocessing_beside(tmp_path / "model.onnx") == (None, "")


def test_the_processors_file_wins_over_timms(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"pretrained_cfg": {"input_size": [3, 64, 64]}}')
    assert preprocessing_beside(tmp_path / "model.onnx")[0].size == (64, 64)  # type: ignore[union-attr]
    (tmp_path / "preprocessor_config.json").write_text(PROCESSOR)
    assert preprocessing_beside(tmp_path / "model.onnx")[0].size == (32, 32)  # type: ignore[union-attr]
