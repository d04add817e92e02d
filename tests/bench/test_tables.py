"""Tables: medians, ratios, and what is said of what did not run."""

from __future__ import annotations

from typing import Any

import pytest
from terminal import left_raw

from secam_onnx.bench.report import digits, report, running_ms, table


@pytest.fixture
def results() -> dict[str, Any]:
    model = {
        "ms": {
            "forward": [10, 11, 100],
            "explain": [22, 22, 23],
            "explain again": [20],
            "superpixels": [3],
            "skimage slic": [30],
            "all classes": [24.2],
            "fused file": [16.5],
            "LIME": [11000],
        },
        "others_cores": {"forward": [0.25], "LIME": [9.0]},
        "skipped": {"RISE": "No module named 'dianna'"},
        "steps_ms": {"forward": [11], "scores": [1]},
        "batch_size": 1,
        "input_size": [224, 224],
        "superpixels": {"method": "grid", "found": 49},
        "providers": ["CPUExecutionProvider"],
        "peak_bytes": {"forward": 100 * 10**6, "explain": 180 * 10**6},
        "folder": {
            "images": 100,
            "batch_size": 10,
            "ms": {"forward": [10], "folder": [20], "start": [200]},
            "peak_bytes": {"forward": 100 * 10**6, "10": 290 * 10**6, "100": 300 * 10**6},
        },
    }
    machine = {"processor": "a CPU", "cpus": 2, "load": 0.5}
    return {"machine": machine, "versions": {"python": "3.11"}, "date": "2026-11-23", "models": {"tiny": model}}


def cells(text: str, *words: str) -> list[str]:
    """The row under the header with these words."""
    lines = text.splitlines()
    header = next(index for index, line in enumerate(lines) if all(f" {word} " in line for word in words))
    return [cell.strip() for cell in lines[header + 2].split("|")[1:-1]]


def test_medians_and_ratios(results: dict[str, Any]) -> None:
    text = report(results)
    speed = cells(text, "model", "forward", "again")
    assert speed == ["tiny", "1", "11.0", "22.0", "2.00", "20.0", "1.82", "24.2", "1.10", "45.5", "0.25"]
    assert cells(text, "fused / forward") == ["tiny", "11.0", "16.5", "1.50"]
    assert cells(text, "model", "forward", "scores") == ["tiny", "11.0 (92%)", "1.00 (8%)"]
    assert cells(text, "skimage slic") == ["tiny", "224 x 224", "grid, 49", "3.00", "30.0", "0.10"]
    assert cells(text, "method", "tiny")[1] == "11,000 (500 x)"
    assert cells(text, "one explain") == ["tiny", "100", "180", "+80"]


def test_a_folder_is_measured_without_the_start(results: dict[str, Any]) -> None:
    """2 s for 100 images, 0.2 s for the first 10 of them: 20 ms each for the other 90."""
    folder = results["models"]["tiny"]["folder"]
    assert running_ms(folder) == {"forward": 10, "folder": 20, "start": 200}
    row = ["tiny", "100", "10", "10.0", "20.0", "2.00", "50.0", "0.20", "100", "290", "300"]
    assert cells(report(results), "images", "folder") == row
    assert running_ms({"skipped": "why"}) == {}


def test_what_did_not_run_is_named_with_its_reason(results: dict[str, Any]) -> None:
    results["models"]["tiny"]["folder"] = {"skipped": "No such option: --to"}
    text = report(results)
    assert "Skipped for tiny: RISE: No module named 'dianna'" in text
    assert "Skipped: No such option: --to" in text


def test_a_table_is_markdown() -> None:
    assert table(["what", "n"], [["a", 1], ["long name", 22]]) == (
        "| what      |   n |\n| --------- | --: |\n| a         |   1 |\n| long name |  22 |\n"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.034, "0.03"), (9.994, "9.99"), (12.34, "12.3"), (7819.4, "7,820"), (100, "100")]
)
def test_digits(value: float | None, text: str) -> None:
    assert digits(value) == text


def test_a_models_name_and_reason_are_no_lines_of_their_own(results: dict[str, Any]) -> None:
    results["models"]["a\n| forged \x1b[2J"] = results["models"].pop("tiny")
    results["models"]["a\n| forged \x1b[2J"]["skipped"] = {"RISE": "no\n| forged"}
    text = report(results)
    assert r"a\n| forged \x1b[2J" in text
    assert left_raw(text.encode()) == []
    assert not any(line.startswith("| forged") for line in text.splitlines())
