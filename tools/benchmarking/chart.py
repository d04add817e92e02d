"""A bar chart on a logarithmic axis as plain SVG: the same bytes for the same numbers, a few kilobytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

__all__ = ["chart"]

WIDTH, LABELS, MARGIN = 860, 170, 70  # pixels; names stand left of the bars, numbers right of them
HEAD, TITLE, ROW, GAP, FOOT = 34, 26, 17, 6, 26
LIMIT, OURS, OTHERS = "#8c959f", "#1a7f37", "#6e8fc3"


def chart(title: str, bars: Mapping[str, Mapping[str, float | None]], ours: int = 2) -> str:
    """Milliseconds an explanation, a group of bars for each network.

    Parameters
    ----------
    title : str
        One line above the bars.
    bars : mapping
        Network -> method -> milliseconds; None is left out. The first method is the physical limit: grey, and a line
        down the group.
    ours : int
        How many after it have our colour.
    """
    values = [value for group in bars.values() for value in group.values() if value]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(value: float) -> float:
        return LABELS + (WIDTH - LABELS - MARGIN) * (math.log10(value) - low) / max(high - low, 1)

    drawn, y = [], HEAD
    for network, group in bars.items():
        y += TITLE
        drawn.append(_text(LABELS, y - 8, network, weight="bold"))
        top = y
        for index, (method, value) in enumerate(group.items()):
            if not value:
                continue
            colour = LIMIT if index == 0 else OURS if index <= ours else OTHERS
            drawn.append(_text(LABELS - 8, y + ROW - 5, method, anchor="end"))
            length = x(value) - LABELS
            drawn.append(f'<rect x="{LABELS}" y="{y}" width="{length:.1f}" height="{ROW - 2}" fill="{colour}"/>')
            drawn.append(_text(x(value) + 5, y + ROW - 5, _time(value)))
            y += ROW
        limit = x(next(value for value in group.values() if value))
        drawn.append(f'<path d="M{limit:.1f} {top}V{y}" stroke="#57606a" stroke-dasharray="3 3"/>')
        y += GAP
    axis = []
    for power in range(low, high + 1):
        axis.append(f'<path d="M{x(10.0**power):.1f} {HEAD}V{y}" stroke="#d0d7de"/>')
        axis.append(_text(x(10.0**power), y + 16, _time(10.0**power), anchor="middle"))
    size = f'width="{WIDTH}" height="{y + FOOT}" viewBox="0 0 {WIDTH} {y + FOOT}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#1f2328">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(LABELS, 20, title),
        *axis,
        *drawn,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'


def _time(ms: float) -> str:
    """Three digits, with the unit that people use."""
    return f"{float(f'{ms:.3g}'):g} ms" if ms < 1000 else f"{float(f'{ms / 1000:.3g}'):g} s"
