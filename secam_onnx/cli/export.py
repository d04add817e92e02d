"""`secam-onnx export`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from secam_onnx.cli.class_options import ClassOptions, class_options
from secam_onnx.cli.console import say
from secam_onnx.cli.fusion_options import fusion_options
from secam_onnx.cli.options import (
    activation_option,
    grouped,
    head_options,
    labels_option,
    memory_limit_option,
    timeout_option,
)
from secam_onnx.cli.preprocessing_options import preprocessing_options
from secam_onnx.cli.progress import step
from secam_onnx.head_query import HeadQuery

if TYPE_CHECKING:
    from secam_onnx.classifier.metadata import FusedRecord, ModelMetadata
    from secam_onnx.export import Source
    from secam_onnx.fusion import Fusion
    from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings

__all__ = ["command"]


@dataclass(frozen=True)
class SourceOptions:
    """What is exported."""

    source: str
    library: str | None
    weights: str | None
    seed: int | None

    def open(self) -> Source:
        """Open the file, or make the network."""
        from secam_onnx.export import open_source

        with step(f"open {self.source}"):
            return open_source(self.source, self.weights, self.seed, self.library)


@dataclass(frozen=True)
class TritonOptions:
    """The configuration for Triton that is written beside the file."""

    triton_config: bool
    triton_max_batch_size: int | None

    def __post_init__(self) -> None:
        if self.triton_max_batch_size is not None and not self.triton_config:
            raise click.UsageError("--triton-max-batch-size goes with --triton-config.")


@click.command("export")
@grouped(
    "source",
    SourceOptions,
    click.argument("source"),
    click.option(
        "--source",
        "library",
        type=click.Choice(["onnx", "torchvision", "keras"]),
        help="Treat SOURCE as an ONNX file, or as a network of torchvision or Keras.  [default: by its ending; "
        "torchvision if there is no such file]",
    ),
    click.option(
        "--weights",
        metavar="NAME|FILE|none",
        help="Give a network these weights: a name to download (by default DEFAULT for torchvision, imagenet for "
        "Keras), a file (.pth, .safetensors; .weights.h5, .h5, .keras), or none for random ones.",
    ),
    click.option("--seed", type=int, help="With --weights none: use this seed for the random weights.  [default: 0]"),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write the model to this file.  [default: SOURCE-secam.onnx or SOURCE-fused.onnx in the current folder]",
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@preprocessing_options
@labels_option
@class_options
@head_options
@activation_option
@fusion_options
@grouped(
    "triton",
    TritonOptions,
    click.option(
        "--triton-config",
        is_flag=True,
        help="With --fused: write a config.pbtxt for Triton's ONNX Runtime backend, too. With "
        "-o MODELS/NAME/1/model.onnx it goes into MODELS/NAME, where Triton looks for it; otherwise beside the file.",
    ),
    click.option(
        "--triton-max-batch-size",
        type=click.IntRange(0),
        metavar="N",
        help="With --triton-config: let Triton put at most N pictures into one run; requests then get the default "
        "classes.  [default: 0, no batching, and requests may name classes]",
    ),
)
@timeout_option
@memory_limit_option
def command(
    source: SourceOptions,
    output: Path | None,
    force: bool,
    preprocessing: PreprocessingSettings | None,
    labels: Path | None,
    classes: ClassOptions,
    query: HeadQuery,
    activation: str | None,
    fusion: Fusion | None,
    triton: TritonOptions,
) -> None:
    """Make an explainable model.

    SOURCE is an .onnx or .keras file, a folder with one .onnx file, or the name of a network of torchvision or Keras:
    resnet50, inception_v3, vgg16, ...

    The result is an ordinary ONNX file with the feature map as one more output. It holds preprocessing, class names and
    the proof that explanations add up to the logits. Preprocessing and class names that are not given are read from the
    file's metadata, the files beside it (Hugging Face, timm, OTX) or its graph.

    With --classes, --like or --texts, SOURCE is an image encoder, or compares images with texts, and the result is a
    classifier of the classes that they name.

    With --fused, all of SeCAM is in the graph: the file explains itself in any runtime, without this package.
    """
    from secam_onnx.export import export_model
    from secam_onnx.export.triton_config import write_triton_config

    if triton.triton_config and fusion is None:
        raise click.UsageError("--triton-config describes a fused file; add --fused.")
    if classes.vectors and query.logits is not None:
        raise click.UsageError("--logits names those of a classifier; for the tensor of an encoder: --embedding NAME.")
    target = output or Path(f"{Path(source.source).resolve().stem}-{'secam' if fusion is None else 'fused'}.onnx")
    _check_target(target, source.source, triton, overwrite=force)
    opened = _opened(source, preprocessing, labels)
    if classes:
        opened = _with_classes(opened, classes, labels, query.logits)
        query = dataclasses.replace(query, logits=None)  # --texts has taken the place of those
    metadata = export_model(
        opened,
        target,
        query=query,
        activation=activation or ("none" if classes.like else None),  # a likeness is no logit
        fusion=fusion,
        overwrite=force,
        progress=step,
    )
    _tell_of_head(target, metadata)
    if metadata.fused is not None:
        _tell_of_fusion(metadata.fused)
    _tell(metadata)
    if triton.triton_config:
        say(f"Triton's configuration: {write_triton_config(target, triton.triton_max_batch_size or 0)}")


def _check_target(target: Path, source: str, triton: TritonOptions, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before the source is opened."""
    from secam_onnx.errors import OptionError
    from secam_onnx.export.triton_config import triton_config_path
    from secam_onnx.graph.locate import model_file
    from secam_onnx.graph.onnx_file import check_writable

    check_writable(target, overwrite=overwrite)
    if triton.triton_config:
        check_writable(triton_config_path(target), overwrite=overwrite)
    if target.exists() and Path(source).exists() and target.samefile(model_file(source)):
        raise OptionError(f"{target} is the source itself; name another file with -o.")


def _opened(source: SourceOptions, preprocessing: PreprocessingSettings | None, labels: Path | None) -> Source:
    """Open the source, with the preprocessing and the class names that were given."""
    from secam_onnx.labels.label_files import read_labels

    names = read_labels(labels) if labels else None
    opened = source.open()
    if preprocessing is not None:
        opened = _changed(opened, preprocessing)
    return opened if labels is None else _named(opened, names, labels)


def _named(source: Source, names: tuple[str, ...] | None, file: Path) -> Source:
    """The source with the class names of a file."""
    from secam_onnx.files import printable

    origin = {**source.origin, "labels": f"read from {printable(file.name)}"}
    return dataclasses.replace(source, labels=names, origin=origin)


def _with_classes(source: Source, classes: ClassOptions, labels: Path | None, logits: str | None) -> Source:
    """An image encoder with its classes, under the names that were given."""
    made = classes.put_on(source, source.labels if labels else None, logits)
    return made if labels is None else _named(made, made.labels, labels)


def _tell_of_head(target: Path, metadata: ModelMetadata) -> None:
    """Say which head was found, and how exactly its parts add up."""
    head, completeness = metadata.head, metadata.completeness
    shape = " x ".join("?" if length is None else str(length) for length in head.shape)
    say(
        f"{target}: head {head.kind}, feature map {head.features} {shape}, completeness error "
        f"{completeness['max_relative_error']:.1e} over {completeness['classes']} classes"
    )


def _tell_of_fusion(record: FusedRecord) -> None:
    """Say what goes into a fused file and comes out of it, and how well it agrees with the explainer."""
    for way, tensors in (("Inputs", record.inputs), ("Outputs", record.outputs)):
        listed = (f"{name} {dtype} ({', '.join(map(str, shape))})" for name, (dtype, shape) in tensors.items())
        say(f"{way}: {'; '.join(listed)}")
    default = f"top-{record.top_k} by default" if record.default_classes else "no default, every run must name them"
    say(f"The model's own outputs: {', '.join(record.own_outputs.values())}. Classes: {default}")
    say(
        f"Opset {record.opset}. Compared with the explainer, superpixels are the same; contributions differ by at most "
        f"{record.agreement['max_relative_difference']:.1e}, relative, and probabilities by at most "
        f"{record.agreement['max_probability_difference']:.1e}"
    )


def _changed(source: Source, settings: PreprocessingSettings) -> Source:
    """Change single settings of the preprocessing that the source has already."""
    from secam_onnx.photograph.preprocessing import Preprocessing

    known = source.preprocessing
    if isinstance(known, Preprocessing) and not settings.complete:
        settings = settings.with_defaults(known.settings(source.origin.get("preprocessing", "as the source has it")))
    return dataclasses.replace(source, preprocessing=settings)


def _tell(metadata: ModelMetadata) -> None:
    """Say what else the file holds, and where it was found."""
    note = metadata.origin.get("preprocessing", "as the source has it")
    say(f"Preprocessing {note}: {metadata.preprocessing}")
    if metadata.labels:
        names = f"{len(metadata.labels)}, the first is {metadata.labels[0]!r}"
        say(f"Class names {metadata.origin.get('labels', 'as the source has them')}: {names}")
    else:
        say(f"Class names: {metadata.origin.get('labels', 'none')}")
    if "classes" in metadata.origin:
        say(f"Logits: {metadata.origin['classes']}")
    say(f"Explained: the {metadata.explained}. Probability: {metadata.probability_note}")
    if note.startswith("assumed"):
        say(f"Preprocessing {note}. To change it: --preprocess PRESET, or --mean, --std and --crop.", err=True)
    for name in ("preprocessing_warning", "features_warning"):
        if warning := metadata.origin.get(name):
            say(f"Warning: {warning}", err=True)
