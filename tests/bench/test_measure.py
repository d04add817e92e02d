"""One round with a tiny model: what is measured, and what becomes of what cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
from tiny_models import classifier

from secam_onnx.bench import (
    Candidate,
    DropoutError,
    Elsewhere,
    PeerInput,
    Settings,
    folder,
    fresh_process,
    measure,
    rounds,
)
from secam_onnx.errors import ImageError, OptionError

pytestmark = pytest.mark.slow

SMALL = {"rounds": 1, "lime_samples": 0, "folder_images": 0}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rounds, "PAUSE", 0)
    path = tmp_path / "tiny.onnx"
    onnx.save(classifier(), path)
    return path


@pytest.mark.parametrize("batch", [1, 3])
def test_one_run(tiny: Path, photo: Path, batch: int) -> None:
    given: list[PeerInput] = []

    def peers(seen: PeerInput) -> tuple[dict[str, Candidate], dict[str, str]]:
        given.append(seen)
        return {"peer": Candidate(lambda: Elsewhere(1.5, 0))}, {"absent": "cannot be installed"}

    found = measure(tiny, Settings(photograph=photo, batch_size=batch, **SMALL), peers)
    assert set(found["ms"]) == {
        *("forward", "explain", "explain again", "superpixels", "skimage slic", "all classes", "fused file", "peer")
    }
    assert all(len(times) == 1 and times[0] > 0 for times in found["ms"].values())
    assert found["ms"]["peer"] == [1500]
    assert found["skipped"] == {"LIME": "not asked for", "absent": "cannot be installed"}
    assert set(found["steps_ms"]) >= {"forward", "superpixels", "scores"}
    assert all(len(times) == batch for times in found["steps_ms"].values())
    assert found["input_size"] == [32, 32]
    assert found["peak_bytes"]["explain"] > found["peak_bytes"]["forward"] > 2**20
    (seen,) = given
    assert seen.inputs.shape == (1, 3, 32, 32)
    assert seen.picture.shape == (32, 32, 3)
    assert seen.logits.shape == (1, 7)


def test_a_model_with_a_fixed_batch_takes_several_images(tmp_path: Path, photo: Path, tiny: Path) -> None:
    onnx.save(classifier(input_shape=[1, 3, 32, 32]), tiny)
    found = measure(tiny, Settings(photograph=photo, batch_size=2, **SMALL))
    assert found["ms"]["forward"][0] > 0


def test_lime_explains_the_same_picture(tiny: Path, photo: Path) -> None:
    pytest.importorskip("lime")
    found = measure(tiny, Settings(photograph=photo, **{**SMALL, "lime_samples": 10}))
    assert len(found["ms"]["LIME"]) == 1


def test_lime_is_skipped_where_it_is_not_installed(tiny: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lime.lime_image", None)
    found = measure(tiny, Settings(photograph=photo, **{**SMALL, "lime_samples": 10}))
    assert "pip install lime" in found["skipped"]["LIME"]


def test_a_folder_in_turns(tiny: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is played: it must be called on JPEG files, for one batch and for all."""
    called: list[tuple[str, ...]] = []

    def command(*arguments: str) -> int:
        called.append(arguments)
        files = list(Path(arguments[1]).iterdir())
        assert {file.suffix for file in files} == {".jpg"}
        return len(files)

    monkeypatch.setattr(folder, "run_command", command)
    found = measure(tiny, Settings(photograph=photo, **{**SMALL, "folder_images": 50}))["folder"]
    assert found["images"] == 48  # whole batches of 8
    assert found["peak_bytes"].pop("forward") > 2**20
    assert found["peak_bytes"] == {"8": 8, "48": 48}
    assert {name: len(times) for name, times in found["ms"].items()} == {"forward": 1, "start": 1, "folder": 1}
    assert [arguments[0] for arguments in called] == ["explain", "explain"]
    assert called[0][called[0].index("--batch-size") + 1] == "8"
    assert called[0][called[0].index("--to") + 1] == "parquet"


def test_a_command_that_fails_is_skipped_with_its_last_word() -> None:
    with pytest.raises(DropoutError, match="nonsense"):
        fresh_process.run_command("inspect", "--nonsense")


def test_settings_and_photographs_are_checked(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="rounds is 0"):
        Settings(rounds=0)
    with pytest.raises(ImageError):
        measure(tiny, Settings(photograph=tmp_path / "none.jpg", **SMALL))
