"""The whole comparison, on few pictures."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from secam_onnx import Segmenter
from secam_onnx.photograph.images import read_image
from studies.segmenters.compare import as_segmenter, main
from studies.segmenters.measuring import CAM, measure
from studies.segmenters.scenes import SEEN, Scene

CHELSEA = Path(__file__).parents[2] / "docs" / "chelsea.png"


def test_a_method_is_a_name_and_settings() -> None:
    assert as_segmenter("slic", 30) == Segmenter("slic", n_segments=30)
    assert as_segmenter("slic:compactness=2.5", 30) == Segmenter("slic", n_segments=30, compactness=2.5)


@pytest.mark.parametrize(
    ("method", "word"), [("slick", "slick"), ("slic:smoothness=2", "smoothness"), ("slic:compactness=-1", "0.001")]
)
def test_unknown_methods_and_settings_are_usage_errors(photographs: Path, method: str, word: str) -> None:
    done = CliRunner().invoke(
        main, ["--photographs", str(photographs), "--method", method, "--method", "grid", "--reference", "grid"]
    )
    assert done.exit_code == 2
    assert word in done.output


def test_tables_and_numbers_of_every_picture(photographs: Path, tmp_path: Path) -> None:
    options = ["--photographs", photographs, "--json", tmp_path / "found.json", "--no-faithfulness", "--most", 4]
    options += ["--method", "slic", "--method", "grid", "--aim", 9, "--aim", 36, "--equal", 12]
    done = CliRunner().invoke(main, [str(option) for option in options], catch_exceptions=False)
    assert done.exit_code == 0
    assert "Against the true regions of the mosaics" in done.output
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["rows"]
    grid = found["measures"]["mosaics | grid | 36"]
    assert grid["superpixels"] == [36] * 4
    # SLIC finds the borders of regions of one colour, the grid does not.
    slic = found["measures"]["mosaics | slic | 36"]
    assert min(slic["boundary recall"]) > 0.7 > 0.5 > max(grid["boundary recall"])


def test_faithfulness_of_a_cat() -> None:
    scene = Scene("photographs", "cat", SEEN.crop(read_image(CHELSEA))[0])
    segmenters = {("grid", aim): Segmenter("grid", n_segments=aim) for aim in (1, 49)}
    rows = {(row["method"], row["aim"]): row for row in measure([scene], segmenters, confident=0)}
    assert rows.keys() == {("grid", 1), ("grid", 49), (CAM, 0)}
    # One superpixel is shown or hidden as a whole: both curves are the same line.
    assert rows["grid", 1]["faithfulness"] == pytest.approx(0, abs=1e-6)
    assert min(rows["grid", 49]["faithfulness"], rows[CAM, 0]["faithfulness"]) > 0.02
    assert not any("faithfulness" in row for row in measure([scene], segmenters, confident=1.1))
