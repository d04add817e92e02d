"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["features_option", "labels_option", "logits_option", "preprocess_option"]

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
