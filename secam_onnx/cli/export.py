"""`secam-onnx export`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from secam_onnx.cli.options import features_option, grid_option, labels_option, logits_option, preprocess_option
from secam_onnx.cli.progress import step

__all__ = ["command"]


@click.command("export")
@click.argument("source")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write.  [default: SOURCE-secam.onnx, here]"
)
@click.option(
    "--weights",
    metavar="NAME|FILE|none",
    help="For torchvision: weights to download, a .pth or .safetensors file, or none (random).  [default: DEFAULT]",
)
@click.option("--seed", type=int, help="For torchvision and none: seed of the random weights.  [default: 0]")
@preprocess_option
@labels_option
@logits_option
@features_option
@grid_option
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(
    source: str,
    output: Path | None,
    weights: str | None,
    seed: int | None,
    preprocess: str | None,
    labels: Path | None,
    logits: str | None,
    features: str | None,
    tokens: tuple[int, int] | None,
    force: bool,
) -> None:
    """Make an explainable model.

    SOURCE is an ONNX file, or a network of torchvision: resnet50, inception_v3, vgg16, ...

    The result is an ordinary ONNX file with the feature map as one more output, and with preprocessing, class names and
    the proof that the explanation adds up to the logits inside.
    """
    from secam_onnx.errors import OptionError
    from secam_onnx.export import export_model, open_source
    from secam_onnx.labels import read_labels
    from secam_onnx.onnx_file import check_writable

    target = output or Path(f"{Path(source).stem}-secam.onnx")
    check_writable(target, overwrite=force)
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise OptionError(f"{target} is the source itself; write to another file with -o.")
    names = read_labels(labels) if labels else None
    with step(f"open {source}"):
        opened = open_source(source, weights, seed)
    given: dict[str, Any] = {"preprocessing": preprocess, "labels": names}
    opened = dataclasses.replace(opened, **{name: value for name, value in given.items() if value})
    contract = export_model(
        opened, target, output=logits, features=features, tokens=tokens, overwrite=force, progress=step
    )
    click.echo(
        f"{target}: head {contract.head.kind}, feature map {contract.head.features} "
        f"{' x '.join('?' if length is None else str(length) for length in contract.head.shape)}, completeness error "
        f"{contract.completeness['max_relative_error']:.1e} over {contract.completeness['classes']} classes"
    )
    if contract.origin.get("preprocessing", "").startswith("assumed"):
        click.echo(f"Preprocessing {contract.origin['preprocessing']}. Another: --preprocess PRESET.", err=True)
