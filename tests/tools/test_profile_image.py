"""The profile names every step and session, with times that can be."""

from __future__ import annotations

import profile_image
import pytest
from click.testing import CliRunner


@pytest.fixture(scope="module")
def printed() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile_image, "PAUSE", 0)
        result = CliRunner().invoke(profile_image.main, ["--rounds", "2", "--top", "3"], catch_exceptions=False)
    return result.output


def rows(printed: str, title: str) -> list[list[str]]:
    """The cells of a table, without its header."""
    part = printed.split(f"### {title}\n\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]


def test_steps_lie_within_the_whole_and_the_network_takes_most_of_it(printed: str) -> None:
    *steps, (_, _, end, whole, _) = rows(printed, "Timeline")
    assert {row[0] for row in steps} == set(profile_image.STEPS)
    assert all(0 <= float(begin) <= float(stop) <= float(end) for _, begin, stop, _, _ in steps)
    assert float(end) == float(whole)
    begins = {row[0]: float(row[1]) for row in steps}
    assert begins["resize and crop"] < begins["forward pass"] < begins["contributions"]


@pytest.mark.parametrize("session", profile_image.SESSIONS)
def test_operators_of_a_session_add_up(printed: str, session: str) -> None:
    *parts, (_, nodes, total, _) = rows(printed, f"Session: {session}")
    assert sum(int(row[1]) for row in parts) == int(nodes) > 0
    assert sum(float(row[2]) for row in parts) == pytest.approx(float(total), abs=0.01)


def test_nothing_stays_patched(printed: str) -> None:
    assert not hasattr(profile_image.Preprocessing.crop, "mock_calls")
    assert profile_image.Preprocessing.crop.__qualname__ == "Preprocessing.crop"
    assert profile_image.segmenters._kmeans_session.cache_info().currsize == 0
