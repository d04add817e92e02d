"""Options that several commands share, and groups of options that a command gets as one value."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secam_onnx.cli.stopping import watch
from secam_onnx.head_query import HeadQuery
from secam_onnx.memory import limit_memory

if TYPE_CHECKING:
    from secam_onnx.superpixels.selection import Selection

__all__ = [
    "SELECTION",
    "Decorator",
    "activation_option",
    "attribution_option",
    "formats_option",
    "grouped",
    "head_options",
    "labels_option",
    "memory_limit_option",
    "model_option",
    "provider_option",
    "selection",
    "threads_option",
    "timeout_option",
]

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def grouped(keyword: str, make: Callable[..., Any], *options: Decorator) -> Decorator:
    """Add options to a command, which gets their values as one value.

    Parameters
    ----------
    keyword : str
        The command's parameter for that value.
    make : callable
        Makes the value of those of all options, given by name. It is called when the command runs.
    *options
        Options of click.
    """
    names = _names(options)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def call(**values: Any) -> None:
            value = make(**{name: values.pop(name) for name in names})
            command(**{keyword: value}, **values)

        decorated: Callable[..., None] = call
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _names(options: Sequence[Decorator]) -> list[str]:
    def nothing() -> None:
        pass

    for option in options:
        option(nothing)
    parameters: list[click.Parameter] = nothing.__click_params__  # type: ignore[attr-defined]
    return [parameter.name for parameter in parameters if parameter.name is not None]


def _rows_and_columns(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", value.strip().lower())
    if match is None:
        raise click.BadParameter(f"{value!r} is not a grid; ROWSxCOLUMNS, such as 7x7, was expected.")
    return int(match[1]), int(match[2])


def _blocks(ctx: click.Context, param: click.Parameter, value: str | None) -> int | tuple[int, ...] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})(?:-([1-9]\d{0,3}))?", value.strip())
    if match is None or (match[2] and int(match[2]) <= int(match[1])):
        raise click.BadParameter(
            f"{value!r} is not a number of blocks; N, such as 4, or N-M, such as 2-5, was expected."
        )
    return tuple(range(int(match[1]), int(match[2]) + 1)) if match[2] else int(match[1])


def _end_after(ctx: click.Context, param: click.Parameter, value: float | None) -> None:
    if value is not None:
        watch.end_after(value)


def _limit_memory(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    if value is not None:
        limit_memory(value)


model_option = click.option(
    "-m",
    "--model",
    type=click.Path(path_type=Path),
    help="Use this ONNX classifier, a file or the folder that holds it.  [default: EfficientNet-Lite0 for ImageNet]",
)
provider_option = click.option(
    "--provider",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Run the model on cpu or cuda; auto takes CUDA where it works.",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Use N threads for a forward pass on the CPU, at most four per core.  [default: one per core]",
)


def _formats(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    from secam_onnx.photograph.file_structure.image_formats import checked_formats

    return checked_formats(value.split(","))


formats_option = click.option(
    "--formats",
    metavar="NAME,...",
    callback=_formats,
    help="Read files of these formats alone: JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, NPY, AVIF, JPEG2000, or all.  "
    "[default: all but JPEG2000]",
)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(0, 1_000_000, min_open=True),
    metavar="SECONDS",
    expose_value=False,
    callback=_end_after,
    help="Stop after so many seconds, with exit code 124.  [default: never]",
)
memory_limit_option = click.option(
    "--memory-limit",
    type=click.IntRange(256),
    metavar="MB",
    expose_value=False,
    callback=_limit_memory,
    help="Let each process take at most so much memory, in mebibytes; Linux only.  [default: no limit]",
)
labels_option = click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Read class names from this file: one per line, with or without indices, or JSON, CSV, YAML.  [default: as "
    "the model file, or the files beside it, say]",
)
activation_option = click.option(
    "--activation",
    type=click.Choice(["auto", "softmax", "sigmoid", "none"]),
    help="Turn raw outputs into probabilities this way.  [default: as the model says; else softmax for several "
    "outputs, none for one]",
)
attribution_option = click.option(
    "--attribution",
    metavar="NAME",
    help="Make the map by gradient, integrated or masking.  [default: what fits the head]",
)
head_options = grouped(
    "query",
    HeadQuery,
    click.option(
        "--logits",
        metavar="NAME",
        help="Explain this output of several, or this tensor (N, classes) of the graph; for the command explain, all "
        "means every head.",
    ),
    click.option("--features", metavar="NAME", help="Use this tensor as the feature map, further up than the default."),
    click.option(
        "--token-grid",
        metavar="ROWSxCOLUMNS",
        callback=_rows_and_columns,
        help="Arrange the tokens of a transformer in this grid.  [default: in the proportions of the picture]",
    ),
    click.option(
        "--blocks",
        metavar="N[-M]",
        callback=_blocks,
        help="In a transformer, take the tokens before the last N attention blocks, or average the maps of N to M.  "
        "[default: a third of the blocks]",
    ),
)

SELECTION = (
    click.option("--top-segments", type=int, metavar="K", help="Keep the K superpixels of the highest scores."),
    click.option(
        "--threshold",
        type=float,
        metavar="FRACTION",
        help="Keep the superpixels that score at least this fraction of the highest score.",
    ),
    click.option(
        "--coverage",
        type=float,
        metavar="SHARE",
        help="Keep the fewest superpixels that carry this share of what speaks for the class.  [default: 0.5]",
    ),
)
"""The options whose values `selection` takes."""


def selection(top_segments: int | None, threshold: float | None, coverage: float | None) -> Selection | None:
    """Which superpixels pictures keep; None without any of the options, as a fused model has a rule of its own."""
    from secam_onnx.superpixels.selection import Selection

    chosen = Selection(top_segments, threshold, coverage)
    return None if chosen == Selection() else chosen
