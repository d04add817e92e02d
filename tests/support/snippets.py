"""The blocks of code in the documentation, each with what the comment above it says of running it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks", "commands", "expected_in", "of_server"]

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "deploy/README.md",
        ROOT / "examples/README.md",
    )
)
"""Every page of the documentation, by its path from the root of the repository."""

_BLOCK = re.compile(
    r"^(?:<!-- (?P<marker>[^\n]*) -->\n)?^```(?P<language>[a-z]+)\n(?P<text>.*?)^```$", flags=re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes
    ----------
    page : str
        Where it stands.
    language : str
        `sh`, `python`, ...
    text : str
        Without the fences.
    marker : str
        The comment in the line above, such as `not run: needs a cluster`; empty if there is none.
    """

    page: str
    language: str
    text: str
    marker: str

    @property
    def is_run(self) -> bool:
        """Whether it is run as it stands, without a server or .ci/run."""
        return not self.marker.startswith(("not run: ", "run against a server", "ci: "))


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The blocks of a page, of one language or of all."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = (Block(page, match["language"], match["text"], match["marker"] or "") for match in _BLOCK.finditer(text))
    return [block for block in found if language in (None, block.language)]


def of_server(language: str) -> list[Block]:
    """What is run against a server, of all pages."""
    return [block for page in PAGES for block in blocks(page, language) if block.marker == "run against a server"]


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a `sh` or `console` block, each with the output that is shown below it, if any."""
    if block.language == "sh":
        return [(line, "") for line in block.text.splitlines() if line and not line.startswith("#")]
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def expected_in(expected: object, found: object, where: str = "") -> None:
    """Fail unless `found` has everything that `expected` has: keys, the beginning of lists, numbers to 1 %."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        for key, value in expected.items():
            assert key in found, f"{where}: no {key!r} in {sorted(found)}"
            expected_in(value, found[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list), where
        assert len(found) >= len(expected), where
        for index, value in enumerate(expected):
            expected_in(value, found[index], f"{where}[{index}]")
    elif isinstance(expected, float):
        assert isinstance(found, float | int), where
        assert abs(expected - found) <= 0.01 * abs(expected), f"{where}: {expected} is shown, {found} was found"
    else:
        assert expected == found, where
