"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path

import click

__all__ = [
    "attribution_option",
    "features_option",
    "grid_option",
    "labels_option",
    "logits_option",
    "preprocess_option",
]


def _rows_and_columns(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", value.strip().lower())
    if match is None:
        raise click.BadParameter(f"{value!r} is no grid; ROWSxCOLUMNS was expected, such as 7x7.")
    return int(match[1]), int(match[2])


logits_option = click.option("--logits", metavar="NAME", help="Model output to explain, where there are several.")
features_option = click.option(
    "--features", metavar="NAME", help="A feature map further up than the default, by tensor name."
)
labels_option = click.option(
    "--labels", type=click.Path(path_type=Path), help="Class names: a text file, one a line, or JSON."
)
preprocess_option = click.option(
    "--preprocess",
    metavar="PRESET",
    help="For a file that does not say: torchvision (assumed), lite, keras-caffe, keras-tf, unit or raw.",
)
grid_option = click.option(
    "--grid",
    "tokens",
    metavar="ROWSxCOLUMNS",
    callback=_rows_and_columns,
    help="Of a feature map made of tokens.  [default: a square]",
)
attribution_option = click.option(
    "--attribution",
    metavar="NAME",
    help="How the map is made: gradient, integrated or masking.  [default: what fits the head]",
)
