"""`--fused` and the options that go with it, which `secam-onnx export` gets as one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from secam_onnx.cli.options import SELECTION, attribution_option, grouped, selection

if TYPE_CHECKING:
    from secam_onnx.fusion import Fusion

__all__ = ["fusion_options"]

_OF_SELECTION = ("top_segments", "threshold", "coverage")
_OF_SEGMENTER = ("n_segments", "compactness")


def _fusion(*, fused: bool, **options: Any) -> Fusion | None:
    """What goes into a fused file; None for an ordinary explainable one."""
    from secam_onnx.fusion import Fusion
    from secam_onnx.superpixels import Segmenter
    from secam_onnx.superpixels.selection import Selection

    given = {name: value for name, value in options.items() if value is not None and value is not False}
    if not fused:
        if given:
            raise click.UsageError(f"--{next(iter(given)).replace('_', '-')} goes with --fused.")
        return None
    if {"top_k", "require_classes"} <= given.keys():
        raise click.UsageError("--top-k is the default of classes, and --require-classes has none; give one of them.")
    return Fusion(
        Segmenter("kmeans", **{name: given[name] for name in _OF_SEGMENTER if name in given}),
        selection(*(options[name] for name in _OF_SELECTION)) or Selection(),
        top_k=given.get("top_k", 1),
        overlay="no_overlay" not in given,
        default_classes="require_classes" not in given,
        float16="float16" in given,
        attribution=given.get("attribution"),
    )


fusion_options = grouped(
    "fusion",
    _fusion,
    click.option("--fused", is_flag=True, help="Put all of SeCAM into the graph; the options below go with this one."),
    click.option(
        "--top-k", type=int, metavar="K", help="Explain the K highest classes of a run that names none.  [default: 1]"
    ),
    click.option("--require-classes", is_flag=True, help="Make every run name its classes."),
    click.option("--no-overlay", is_flag=True, help="Leave the finished picture out of the outputs."),
    click.option("--float16", is_flag=True, help="Store weights with 16 bits."),
    click.option("--n-segments", type=int, metavar="N", help="Aim at N superpixels.  [default: 50]"),
    click.option(
        "--compactness",
        type=float,
        metavar="C",
        help="Make superpixels rounder with a higher number.  [default: 15]",
    ),
    *SELECTION,
    attribution_option,
)
