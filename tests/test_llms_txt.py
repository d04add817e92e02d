"""`llms.txt` follows the convention of llmstxt.org, and its links lead to files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "llms.txt").read_text(encoding="utf-8")
PLACE = "https://raw.githubusercontent.com/secam-onnx/secam-onnx/main/"


def test_it_has_a_title_a_summary_and_sections_of_links() -> None:
    title, summary, *rest = TEXT.split("\n\n")
    assert title == "# secam-onnx"
    assert all(line.startswith("> ") for line in summary.splitlines())
    headings = [index for index, part in enumerate(rest) if part.startswith("## ")]
    assert len(headings) >= 3
    for index in headings:
        assert all(re.fullmatch(r"- \[.+\]\(\S+\): .+", line) for line in rest[index + 1].splitlines())


def test_its_links_lead_to_files() -> None:
    links = re.findall(r"\]\((\S+)\)", TEXT)
    assert len(links) == len(set(links)) > 10
    for link in links:
        assert link.startswith(PLACE)
        assert (ROOT / link.removeprefix(PLACE)).is_file(), link
