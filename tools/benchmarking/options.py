"""What options of several tools read."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

__all__ = ["names_among"]


def names_among(known: Iterable[str]) -> Callable[[click.Context, click.Option, str], list[str]]:
    """The callback of an option that takes some of these names, separated by commas."""
    there = list(known)

    def names(_: click.Context, option: click.Parameter, value: str) -> list[str]:
        chosen = [name for name in value.split(",") if name]
        if unknown := [name for name in chosen if name not in there]:
            raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(there)}.", param=option)
        return chosen

    return names
