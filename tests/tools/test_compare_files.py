"""The comparison of real files: differences, the authors' preprocessing, verdicts, going on where it stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_models
from click.testing import CliRunner
from compare_files import main, not_written, produce
from PIL import Image
from real_files import comparing
from real_files.authors import Recipe, probabilities, recipes, resample
from real_files.comparing import compare, difference, told
from real_files.report import report, verdict
from skimage import data

GOOD = {"differences": {"logits": 1e-7}, "answer_difference": 0.0, "not_compared": [], "output": "logits"}


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"name": "tiny", "package": "tiny==1", "file": "tiny.onnx", "task": "", "said_in": "", **fields})


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "networks" / "tiny.onnx"
    path.parent.mkdir()
    onnx.save(tiny_models.classifier(softmax=True), path)
    return path


def test_a_difference_is_a_share_of_the_largest_number_and_nothing_hides_it() -> None:
    assert difference(np.array([1.0, -8.0]), np.array([1.0, -10.0])) == pytest.approx(0.2)
    assert difference(np.zeros(2), np.zeros(2)) == 0
    assert difference(np.zeros((1, 2)), np.zeros((2, 1))) == np.inf
    assert difference(np.array([1.0, 2.0]), np.array([1.0, np.nan])) == np.inf
    assert difference(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == 0


def test_a_file_is_equal_to_itself(tiny: Path) -> None:
    row = compare(tiny)
    assert (row["activation"], row["head"]) == ("softmax", "gap + fc")
    assert max(row["differences"].values()) < 1e-6
    assert row["answer_difference"] < 1e-6
    assert verdict(row) == "equal"


def test_a_file_that_says_something_else_is_seen(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubled(comparing.Plain):
        def run(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
            return {name: output * 1.01 for name, output in super().run(inputs).items()}

    monkeypatch.setattr(comparing, "Plain", Doubled)
    assert "DIFFERS" in verdict(compare(tiny))


def test_a_file_that_is_refused_is_told_with_its_words(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    graph = onnx.parser.parse_graph("g (float[N, 7] x) => (float[N, 7] y) { y = Identity(x) }")
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    row = compare(path)
    assert verdict(row).startswith("not explained: ")
    assert verdict(row, recipe(refused="a row of numbers")) == "refused"
    assert row["words"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"differences": {"logits": 0.01}}, "logits DIFFERS"),
        ({"differences": {"logits": float("nan")}}, "logits DIFFERS"),
        ({"answer_difference": 0.01}, "what is explained DIFFERS from the output"),
        ({"differences": {}, "not_compared": ["logits"]}, "its output was not compared"),
        ({"error": "ValueError", "not_ours": True}, "FAILS: ValueError"),
    ],
)
def test_what_is_wrong_is_no_verdict_of_equal(wrong: dict[str, Any], words: str) -> None:
    assert verdict(GOOD) == "equal"
    assert verdict(GOOD | wrong) == words
    assert verdict(GOOD, recipe(refused="no classes")) == "EXPLAINED, though it is no classifier"


def test_authors_steps_equal_the_closed_form() -> None:
    photograph = data.chelsea()  # 300 x 451
    stretched = np.asarray(Image.fromarray(photograph).resize((24, 24), Image.Resampling.BILINEAR), dtype=float)
    fed = recipe(to=24, crop=16, order="BGR", mean=(10, 20, 30), std=2).feed(photograph)
    np.testing.assert_allclose(fed, (stretched[4:20, 4:20, ::-1] - [10, 20, 30]) / 2, atol=1e-5)

    boxed = recipe(resize="letterbox", to=30, pad=7).feed(photograph)
    assert boxed.shape == (30, 30, 3)
    assert (boxed[:5] == 7).all()
    assert (boxed[25:] == 7).all()
    np.testing.assert_array_equal(boxed[5:25], np.asarray(Image.fromarray(photograph).resize((30, 20), 2)))

    line = recipe(resize="left", to=(30, 64), mean=5).feed(photograph)  # 30 x 46 of the 64
    assert (line[:, 46:] == 0).all()
    np.testing.assert_array_equal(line[:, :46], np.asarray(Image.fromarray(photograph).resize((46, 30), 2)) - 5.0)

    grey = recipe(to=24, grey=True).feed(photograph)
    np.testing.assert_allclose(grey[..., 0], stretched @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize("corners", [True, False])
def test_tensorflows_points_equal_those_of_pytorch(corners: bool) -> None:
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).uniform(0, 255, (12, 20, 3)).astype(np.float32)
    ours = resample(image, (5, 7), "tf align corners" if corners else "tf")
    rows, columns = (
        torch.linspace(-1, 1, new) if corners else torch.arange(new) * old / new * 2 / (old - 1) - 1
        for old, new in ((12, 5), (20, 7))
    )
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)[None].float()
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    points = torch.nn.functional.grid_sample(planes, grid, align_corners=True)
    np.testing.assert_allclose(ours, points[0].permute(1, 2, 0), atol=1e-2)


def test_the_package_told_what_the_authors_do_does_it(tiny: Path) -> None:
    height, width = (int(dim.dim_value) for dim in onnx.load(tiny).graph.input[0].type.tensor_type.shape.dim[2:])
    entry = recipe(to=(height, width), scale=1 / 255, mean=(0.5, 0.4, 0.3), std=0.2, activation="in the file")
    authors = compare(tiny, entry)["authors"]
    assert authors["input_difference"] < 1e-6
    assert authors["probability_difference"] < 1e-6
    assert authors["highest_equal"] == 3
    assert told(entry)["preprocessing"].mean == pytest.approx((127.5, 102, 76.5))


def test_probabilities_are_as_the_authors_take_them() -> None:
    logits = np.array([[0.0, np.log(3)]])
    np.testing.assert_allclose(probabilities(recipe(activation="softmax"), logits), [[0.25, 0.75]])
    np.testing.assert_allclose(probabilities(recipe(activation="sigmoid"), logits), [[0.5, 0.75]])
    assert probabilities(recipe(activation="in the file"), logits) is logits


def test_every_trained_model_says_where_its_authors_say_it() -> None:
    known = recipes()
    assert len(known) >= 15
    for name, entry in known.items():
        assert "==" in entry.package or "@" in entry.package, name
        assert entry.said_in, name
        assert len(entry.sha256) == 16, name
        assert entry.activation in ("softmax", "sigmoid", "in the file", "none"), name


def test_comparing_goes_on_where_it_stopped(tiny: Path, tmp_path: Path) -> None:
    results, call = tmp_path / "files.json", ["compare", str(tiny.parent), "--results", str(tmp_path / "files.json")]
    first = CliRunner().invoke(main, call, catch_exceptions=False)
    assert "networks/tiny" in first.output
    assert json.loads(results.read_text())["networks/tiny"]["head"] == "gap + fc"
    second = CliRunner().invoke(main, call, catch_exceptions=False)
    assert "tiny" not in second.output
    table = CliRunner().invoke(main, ["table", str(results)], catch_exceptions=False).output
    assert "## Networks: 1 files, 1 equal" in table


def test_the_report_counts_and_quotes() -> None:
    missing = {"networks/huge": {"not_written": "no operator"}}
    row = {"state": {"commit": "abc"}, "date": "2026-11-28", "error": "ModelError", "words": "No head was found."}
    text = report({"trained/tiny": row, **missing}, {"tiny": recipe()})
    assert "- `networks/huge`: no operator" in text
    assert "1 not explained" in text
    assert "- `trained/tiny`: No head was found." in text
    assert "1 files at commit abc; 2026-11-28." in text


def test_a_failed_export_leaves_its_words_and_no_file(tmp_path: Path) -> None:
    program = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('half'); sys.exit('no operator')"
    produce(tmp_path / "a.onnx", [sys.executable, "-c", program])
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]
    assert "no operator" in (tmp_path / "a.log").read_text()
    results = tmp_path / "files.json"
    CliRunner().invoke(main, ["compare", str(tmp_path), "--results", str(results)], catch_exceptions=False)
    assert not results.exists()  # nothing was compared
    assert not_written([tmp_path]) == {f"{tmp_path.name}/a": {"not_written": "no operator"}}
    produce(tmp_path / "b.onnx", [sys.executable, "-c", program.replace("sys.exit('no operator')", "")])
    assert (tmp_path / "b.onnx").read_text() == "half"
