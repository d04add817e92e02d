"""`secam-onnx explain` when all is well: what is written, that its numbers add up, and what each option changes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from PIL import Image

RunCli = Callable[..., subprocess.CompletedProcess[str]]
Explain = Callable[..., tuple[dict[str, Any], subprocess.CompletedProcess[str]]]

TIGER_CAT, EGYPTIAN_CAT, TABBY = 282, 285, 281


@pytest.fixture(scope="module")
def result(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `secam-onnx explain chelsea.png` writes, run once."""
    folder = tmp_path_factory.mktemp("explained")
    command = [sys.executable, "-m", "secam_onnx", "explain", str(photo)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    top = r"tiger cat \(282\) 0\.\d{3}, Egyptian cat \(285\) 0\.\d{3}, tabby \(281\) 0\.\d{3}"
    where = re.escape(str(Path("secam-out", "chelsea")))
    assert re.fullmatch(rf"{re.escape(str(photo))}: {top} -> {where}\n", done.stdout)
    assert [path.name for path in folder.iterdir()] == ["secam-out"]
    return folder / "secam-out" / "chelsea"


@pytest.fixture
def explain(run_cli: RunCli, photo: Path, tmp_path: Path) -> Explain:
    """Explain the photograph with options; gives the JSON and the finished process."""

    def run(*options: object) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
        done = run_cli("explain", photo, *options)
        assert done.returncode == 0, done.stderr
        return read(tmp_path / "secam-out" / "chelsea"), done

    return run


def read(folder: Path) -> dict[str, Any]:
    """The JSON of a result, once its numbers were checked."""
    report = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
    assert {path.name for path in folder.iterdir()} == {"explanation.json", *report["files"]}
    for entry in report["classes"]:
        shares = np.array([superpixel["contribution"] for superpixel in entry["superpixels"]])
        size = max(abs(entry["logit"]), np.abs(shares).sum())
        assert abs(shares.sum() + entry["bias"] - entry["logit"]) < 1e-3 * size
        assert [superpixel["segment_id"] for superpixel in entry["superpixels"]] == list(range(len(shares)))
        assert 0 < entry["probability"] < 1
    return report


def columns(report: dict[str, Any], row: int = 0) -> tuple[np.ndarray, ...]:
    """Mean score, contribution and kept flag of each superpixel of a class."""
    table = report["classes"][row]["superpixels"]
    return tuple(np.array([line[key] for line in table]) for key in ("score", "contribution", "kept"))


def labels_of(report: dict[str, Any]) -> list[int]:
    return [entry["index"] for entry in report["classes"]]


def test_the_numbers_of_a_result(result: Path) -> None:
    report = read(result)
    assert labels_of(report) == [TIGER_CAT]
    assert [entry["index"] for entry in report["predictions"][:3]] == [TIGER_CAT, EGYPTIAN_CAT, TABBY]
    assert report["predictions"][0] == {key: report["classes"][0][key] for key in report["predictions"][0]}
    logits, probabilities = zip(*((e["logit"], e["probability"]) for e in report["predictions"]), strict=True)
    assert list(logits) == sorted(logits, reverse=True)
    np.testing.assert_allclose(
        np.log(probabilities) - np.log(probabilities[0]), np.subtract(logits, logits[0]), atol=1e-4
    )
    assert set(report["timings_ms"]) == {"preprocess", "forward", "contribution", "superpixels", "scores"}
    assert all(value > 0 for value in report["timings_ms"].values())
    assert report["completeness_error"] < 1e-3
    method = report["method"]
    assert (method["head"], method["map_size"], method["model"]) == ("gap + fc", [7, 7], "efficientnet-lite0.onnx")
    assert method["superpixels"] == {"method": "kmeans", "n_segments": 50, "compactness": 15.0}
    assert report["geometry"]["image_size"] == [300, 451]
    assert report["selection"] == {"coverage": 0.5}


def test_the_arrays_say_the_same(result: Path) -> None:
    report = read(result)
    scores, contributions, _ = columns(report)
    with np.load(result / "arrays.npz", allow_pickle=False) as arrays:
        shapes = {
            name: arrays[name].shape for name in ("cam", "segments", "segment_scores", "segment_contributions", "bias")
        }
        n = len(scores)
        assert shapes == {
            "cam": (1, 7, 7),
            "segments": (224, 224),
            "segment_scores": (1, n),
            "segment_contributions": (1, n),
            "bias": (1,),
        }
        np.testing.assert_array_equal(np.unique(arrays["segments"]), np.arange(n))
        np.testing.assert_array_equal(arrays["class_ids"], [TIGER_CAT])
        np.testing.assert_allclose(arrays["segment_scores"][0], scores, rtol=1e-6)
        np.testing.assert_allclose(arrays["segment_contributions"][0], contributions, rtol=1e-6)
        np.testing.assert_allclose(arrays["cam"].sum() + arrays["bias"], arrays["class_logits"], rtol=1e-3)
        np.testing.assert_array_equal(arrays["image_size"], [300, 451])
        np.testing.assert_allclose(arrays["box"], report["geometry"]["box"])


def test_the_pictures(result: Path, chelsea: np.ndarray) -> None:
    assert {path.name for path in result.glob("*.png")} == {
        f"0282-tiger_cat-{kind}.png" for kind in ("panel", "superpixels", "heatmap", "cam")
    }
    with Image.open(result / "0282-tiger_cat-panel.png") as panel:
        assert panel.width > 3 * 451
        assert panel.height > 300
    for kind in ("superpixels", "heatmap", "cam"):
        with Image.open(result / f"0282-tiger_cat-{kind}.png") as picture:
            assert (picture.size, picture.mode) == ((451, 300), "RGB")
            assert np.abs(np.asarray(picture).astype(int) - chelsea).mean() > 5


@pytest.mark.parametrize(
    ("queries", "wanted"),
    [
        (["Egyptian cat"], [EGYPTIAN_CAT]),
        (["TABBY", "999"], [TABBY, 999]),
        (["top-3"], [TIGER_CAT, EGYPTIAN_CAT, TABBY]),
        (["281", "top-2", "tiger cat"], [TABBY, TIGER_CAT, EGYPTIAN_CAT]),
    ],
)
def test_classes(queries: list[str], wanted: list[int], explain: Explain) -> None:
    report, _ = explain(*(word for query in queries for word in ("--class", query)))
    assert labels_of(report) == wanted
    assert len([name for name in report["files"] if name.endswith("-panel.png")]) == len(wanted)


def test_all_classes_with_two_pictures(explain: Explain) -> None:
    report, done = explain("-c", "all", "--pictures", "2")
    assert labels_of(report) == list(range(1000))
    assert {name.split("-")[0] for name in report["files"] if name.endswith(".png")} == {"0282", "0285"}
    assert "2 of 1000 classes" in done.stdout
    assert sum(entry["probability"] for entry in report["classes"]) == pytest.approx(1, abs=1e-4)


def test_coverage_is_the_default(result: Path) -> None:
    check_coverage(read(result), 0.5)


def check_coverage(report: dict[str, Any], share: float) -> None:
    scores, contributions, kept = columns(report)
    positive = contributions > 0
    assert not kept[~positive].any()
    assert scores[kept].min() > scores[~kept & positive].max()
    enough = share * contributions[positive].sum()
    last = np.flatnonzero(kept)[scores[kept].argmin()]
    assert contributions[kept].sum() >= enough * (1 - 1e-5)
    assert contributions[kept].sum() - contributions[last] < enough


def test_selection_options(explain: Explain) -> None:
    report, _ = explain("--top-segments", "3")
    scores, _, kept = columns(report)
    assert set(np.flatnonzero(kept)) == set(np.argsort(-scores)[:3])
    report, _ = explain("--threshold", "0.6")
    scores, _, kept = columns(report)
    np.testing.assert_array_equal(kept, scores >= 0.6 * scores.max())
    assert report["selection"] == {"threshold": 0.6}
    report, _ = explain("--coverage", "0.9")
    check_coverage(report, 0.9)


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ("--segmenter kmeans --n-segments 20", 16, 24),
        ("--segmenter kmeans --n-segments 150 --compactness 30", 120, 180),
        ("--segmenter slic --n-segments 20", 8, 32),
        ("--segmenter slic --n-segments 150 --compactness 30", 90, 220),
        ("--segmenter felzenszwalb", 10, 200),
        ("--segmenter quickshift", 10, 200),
        ("--segmenter grid --n-segments 16", 16, 16),
    ],
)
def test_segmenters(options: str, low: int, high: int, explain: Explain) -> None:
    report, _ = explain(*options.split())
    assert low <= len(columns(report)[0]) <= high
    words = options.split()
    given = dict(zip((word.strip("-") for word in words[::2]), words[1::2], strict=True))
    used = report["method"]["superpixels"]
    assert used["method"] == given["segmenter"]
    assert used["n_segments"] == int(given.get("n-segments", 50))
    assert used["compactness"] == float(given.get("compactness", 15 if given["segmenter"] == "kmeans" else 10))


@pytest.mark.parametrize("name", ["map.png", "map16.png", "map.npy", "seen.npy"])
def test_a_label_map_of_ones_own(name: str, tmp_path: Path, explain: Explain) -> None:
    """Left and right half, with numbers that have gaps."""
    size = (224, 224) if name == "seen.npy" else (300, 451)
    halves = np.broadcast_to(np.where(np.arange(size[1]) < size[1] // 2, 7, 200), size)
    if name.endswith(".npy"):
        np.save(tmp_path / name, halves)
    else:
        Image.fromarray(halves.astype(np.uint16 if "16" in name else np.uint8)).save(tmp_path / name)
    report, _ = explain("--label-map", name)
    assert report["method"]["superpixels"] == {"method": "given label map"}
    segments = np.load(tmp_path / "secam-out" / "chelsea" / "arrays.npz")["segments"]
    assert (segments[:, :110] == 0).all()
    assert (segments[:, 114:] == 1).all()


def test_an_earlier_result_is_replaced(result: Path, photo: Path, tmp_path: Path, explain: Explain) -> None:
    shutil.copytree(result, tmp_path / "secam-out" / "chelsea")
    report, _ = explain("-c", "tabby")
    assert labels_of(report) == [TABBY]
    assert [path.name for path in (tmp_path / "secam-out").iterdir()] == ["chelsea"]


@pytest.mark.parametrize("earlier", [True, False])
def test_a_users_own_file_is_left_alone(
    earlier: bool, result: Path, photo: Path, tmp_path: Path, run_cli: RunCli, snapshot: Callable[[Path], object]
) -> None:
    folder = tmp_path / "secam-out" / "chelsea"
    if earlier:
        shutil.copytree(result, folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notes.txt").write_text("mine")
    before = snapshot(tmp_path)
    done = run_cli("explain", photo)
    assert (done.returncode, done.stdout) == (2, "")
    assert "something other than" in done.stderr
    assert "another output folder" in done.stderr
    assert snapshot(tmp_path) == before


def test_an_ordinary_model_with_labels(tmp_path: Path, explain: Explain) -> None:
    (tmp_path / "tiny.onnx").write_bytes(tiny_models.classifier("mlp", softmax=True).SerializeToString())
    names = ["猫", "a/b", "..", "c d", "é", "x" * 300, "last"]
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    report, done = explain("-m", "tiny.onnx", "--labels", "names.txt", "-c", "all")
    assert "assumed" in done.stderr
    assert "--preprocess" in done.stderr
    assert [entry["label"] for entry in report["classes"]] == names
    assert report["method"]["head"] == "flatten + fc + relu + fc"
    report, done = explain("-m", "tiny.onnx", "--preprocess", "unit", "--provider", "cpu")
    assert done.stderr == ""
    assert report["method"]["preprocessing"]["std"] == [255] * 3
    assert report["method"]["providers"] == ["CPUExecutionProvider"]
