"""`secam-onnx export`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from secam_onnx.cli.options import features_option, labels_option, logits_option, preprocess_option
from secam_onnx.cli.progress import step

__all__ = ["command"]


@click.command("export")
@click.argument("source")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write.  [default: SOURCE-secam.onnx, here]"
)
@click.option(
    "--source",
    "library",
    type=click.Choice(["onnx", "torchvision", "keras"]),
    help="Whose SOURCE is.  [default: by its ending; torchvision, if it is no file]",
)
@click.option(
    "--weights",
    metavar="NAME|FILE|none",
    help="For a network: weights to download (torchvision: DEFAULT, Keras: imagenet, which are the defaults), a file "
    "(.pth, .safetensors; .weights.h5, .h5, .keras), or none (random).",
)
@click.option("--seed", type=int, help="For none: seed of the random weights.  [default: 0]")
@preprocess_option
@labels_option
@logits_option
@features_option
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(
    source: str,
    output: Path | None,
    library: str | None,
    weights: str | None,
    seed: int | None,
    preprocess: str | None,
    labels: Path | None,
    logits: str | None,
    features: str | None,
    force: bool,
) -> None:
    """Make an explainable model.

    SOURCE is a file, .onnx or .keras, or a network of torchvision or Keras: resnet50, inception_v3, vgg16, ...

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
        opened = open_source(source, weights, seed, library)
    given: dict[str, Any] = {"preprocessing": preprocess, "labels": names}
    opened = dataclasses.replace(opened, **{name: value for name, value in given.items() if value})
    contract = export_model(opened, target, output=logits, features=features, overwrite=force, progress=step)
    click.echo(
        f"{target}: head {contract.head.kind}, feature map {contract.head.features} "
        f"{' x '.join('?' if length is None else str(length) for length in contract.head.shape)}, completeness error "
        f"{contract.completeness['max_relative_error']:.1e} over {contract.completeness['classes']} classes"
    )
    if contract.origin.get("preprocessing", "").startswith("assumed"):
        click.echo(f"Preprocessing {contract.origin['preprocessing']}. Another: --preprocess PRESET.", err=True)
