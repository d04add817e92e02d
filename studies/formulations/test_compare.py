"""All forms of a step do the same; how long they take is not tested."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from secam_onnx.photograph.images import read_image
from secam_onnx.superpixels.cells import Cells
from studies.formulations.compare import BLOCKS, SEGMENTS, SIZE, STEPS, as_table, compare, main, square
from studies.formulations.session import open_nodes, run
from studies.formulations.steps import Step, steps

CHELSEA = Path(__file__).parents[2] / "docs" / "chelsea.png"


@pytest.fixture(scope="module")
def prepared() -> dict[str, Step]:
    return steps(square(read_image(CHELSEA)), Cells.fitted(SIZE, SEGMENTS, BLOCKS))


@pytest.mark.parametrize(
    ("name", "least"),
    # Polynomials move colours by up to 0.7; fewer pixels give other centres; one beyond the nine may be nearer.
    [("move", 1), ("look up", 1), ("colour", 0.99), ("assign", 0.999), ("iterate", 0.85)],
)
def test_every_form_gives_the_same_labels(prepared: dict[str, Step], name: str, least: float) -> None:
    rows = compare(prepared[name], rounds=1)
    assert [row["form"] for row in rows] == list(prepared[name].forms)
    assert sum(row["ours"] for row in rows) == 1
    assert min(row["agree"] for row in rows) >= least
    assert len(rows) >= 3


def test_the_forms_of_nine_agree_with_each_other(prepared: dict[str, Step]) -> None:
    step = prepared["assign"]
    found = {name: step.labels(run(open_nodes(form, step.feeds), step.feeds)()) for name, form in step.forms.items()}
    ours = found.pop(step.ours)
    for name, labels in found.items():
        if name.startswith("nine") and "last bits" not in name:
            np.testing.assert_array_equal(labels, ours, err_msg=name)


def test_tables_and_durations(tmp_path: Path) -> None:
    options = ["--rounds", "2", "--step", "move", "--step", "whole", "--json", str(tmp_path / "found.json")]
    done = CliRunner().invoke(main, options, catch_exceptions=False)
    assert done.exit_code == 0
    assert "Moving pixels into cells" in done.output
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert list(found["steps"]) == ["move", "whole"]
    assert set(found["steps"]) < set(STEPS)
    for rows in found["steps"].values():
        assert as_table(rows) in done.output
        assert all(len(row[kind]) == 2 and min(row[kind]) >= 0 for row in rows for kind in ("cpu", "wall"))
    assert {row["form"] for row in found["steps"]["whole"]} >= {"the model, 1 thread", "scikit-image's slic"}


def test_another_picture_is_cut_to_a_square() -> None:
    wide = np.zeros((300, 500, 3), np.uint8)
    wide[:, 100:400] = 255
    assert square(wide).shape == (*SIZE, 3)
    assert square(wide).min() == 255
