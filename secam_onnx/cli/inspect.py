"""`secam-onnx inspect`."""

from __future__ import annotations

import codecs
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from secam_onnx.cli.console import say, say_json
from secam_onnx.cli.options import (
    activation_option,
    attribution_option,
    head_options,
    memory_limit_option,
    timeout_option,
)
from secam_onnx.cli.preprocessing_options import preprocessing_options
from secam_onnx.cli.progress import step
from secam_onnx.head_query import HeadQuery

if TYPE_CHECKING:
    from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings

__all__ = ["command"]


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
@click.option("--labels", "with_labels", is_flag=True, help="List all class names.")
@preprocessing_options
@head_options
@activation_option
@attribution_option
@timeout_option
@memory_limit_option
def command(
    model: Path | None,
    as_json: bool,
    with_labels: bool,
    preprocessing: PreprocessingSettings | None,
    query: HeadQuery,
    activation: str | None,
    attribution: str | None,
) -> None:
    """Show what is found in MODEL, by default the default model.

    That is: inputs, preprocessing, feature map and head, what was rejected and why, classes, and the completeness
    error, measured now. An ordinary ONNX classifier is inspected as `explain` would use it. Of a fused model, inputs
    and outputs are listed, too.
    """
    from secam_onnx.classifier.inspection import inspect_model

    report = inspect_model(
        model,
        preprocessing=preprocessing,
        query=query,
        activation=activation,
        attribution=attribution,
        progress=functools.partial(step, keep=False),
    )
    if as_json:
        # A console that cannot show a character would replace it, and spoil the JSON.
        unicode = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
        say_json(report, indent=1, ascii_only=not unicode)
        return
    labels = report["labels"] or []
    report["labels"] = [*labels[:3], "..."] if labels else "none"
    kind = "a fused model" if "fused" in report else "an explainable model"
    report["exported"] = f"yes: {kind}" if report["exported"] else "no: an ordinary ONNX file, explained as it is"
    for key, value in report.items():
        if isinstance(value, dict):
            say(":", heading=_words(key))
            for name, entry in value.items():
                _show(f"  {_words(name)}", entry)
        else:
            _show("", value, heading=_words(key))
    if with_labels:
        for index, label in enumerate(labels):
            say(f"  {index}: {label}")


def _show(name: str, value: object, heading: str = "") -> None:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        say(f"{name}:", heading=heading)
        indent = " " * (len(name) - len(name.lstrip()) + 2)
        for entry in value:
            first, *rest = entry.values()
            say(f"{indent}{first}: {'; '.join(map(str, rest))}")
    else:
        say(f"{name}: {_text(value)}", heading=heading)


def _words(key: str) -> str:
    return key.replace("_", " ")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{_words(name)} {_text(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "open" if value is None else str(value)
