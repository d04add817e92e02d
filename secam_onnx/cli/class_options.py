"""The options of `secam-onnx export` that put classes on an image encoder, which the command gets as one value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from secam_onnx.cli.options import grouped
from secam_onnx.cli.progress import step

if TYPE_CHECKING:
    import numpy as np

    from secam_onnx.export import Source

__all__ = ["ClassOptions", "class_options"]


@dataclass(frozen=True)
class ClassOptions:
    """Where the classes of an image encoder come from, and how an embedding is compared with them."""

    classes: Path | None
    like: tuple[Path, ...]
    texts: Path | None
    scale: float | None
    bias: str | None
    normalise: bool | None
    embedding: str | None
    pool: str | None

    def __post_init__(self) -> None:
        if bool(self.classes) + bool(self.like) + bool(self.texts) > 1:
            raise click.UsageError("--classes, --like and --texts each say what the classes are; give one of them.")
        details = ("scale", "bias", "normalise", "embedding", "pool")
        given = [f"--{name}" for name in details if getattr(self, name) is not None]
        if given and not self.vectors:
            raise click.UsageError(f"{given[0]} goes with --classes or --like.")

    def __bool__(self) -> bool:
        return self.vectors or self.texts is not None

    @property
    def vectors(self) -> bool:
        """Whether a head of vectors is put on an encoder."""
        return bool(self.classes or self.like)

    def put_on(self, source: Source, names: tuple[str, ...] | None, logits: str | None) -> Source:
        """The encoder with its classes."""
        from secam_onnx.export import embed, with_classes, with_texts
        from secam_onnx.export.array_files import read_array, read_arrays
        from secam_onnx.export.embed import names_of_files

        if self.texts is not None:
            tokens = read_arrays(self.texts, "the texts")
            with step("encode the texts"):
                return with_texts(source, tokens, names, logits=logits)
        if self.classes is not None:
            vectors = read_array(self.classes, "the class vectors")
        else:
            with step(f"embed {', '.join(path.name for path in self.like)}"):
                vectors = embed(source, self.like, embedding=self.embedding, pool=self.pool)
            names = names or names_of_files(self.like)
        return with_classes(
            source,
            vectors,
            names,
            scale=1.0 if self.scale is None else self.scale,
            bias=_bias(self.bias),
            normalise=bool(self.like) if self.normalise is None else self.normalise,
            embedding=self.embedding,
            pool=self.pool,
        )


def _bias(given: str | None) -> float | np.ndarray:
    from secam_onnx.export.array_files import read_array

    if given is None or re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", given):
        return float(given or 0)
    return read_array(given, "the bias")


class_options = grouped(
    "classes",
    ClassOptions,
    click.option(
        "--classes",
        type=click.Path(path_type=Path),
        metavar="FILE.npy",
        help="SOURCE is an image encoder: make it a classifier with one class for each row of this array (classes, D), "
        "such as CLIP's text embeddings or prototypes.",
    ),
    click.option(
        "--like",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="PHOTO",
        help="SOURCE is an image encoder: make it a classifier with one class for this photograph, which explains what "
        "makes another one like it. May be given several times.",
    ),
    click.option(
        "--texts",
        type=click.Path(path_type=Path),
        metavar="FILE.npz",
        help="SOURCE compares an image with texts, as whole CLIP and SigLIP do: make it a classifier with one class "
        "for each row of these arrays, which are named as its inputs and hold what its tokenizer gives.",
    ),
    click.option("--scale", type=float, metavar="NUMBER", help="Multiply by this: CLIP's 100.  [default: 1]"),
    click.option("--bias", metavar="NUMBER|FILE.npy", help="Add this, one number or one for each class.  [default: 0]"),
    click.option(
        "--normalise/--no-normalise",
        default=None,
        help="Divide embedding and class vectors by their L2 norms, which compares directions.  [default: no for "
        "--classes, yes for --like]",
    ),
    click.option(
        "--embedding",
        metavar="NAME",
        help="Compare this tensor (N, D) of the encoder with the classes.  [default: the output with one vector for "
        "each image]",
    ),
    click.option(
        "--pool",
        type=click.Choice(["class", "mean"]),
        help="The encoder gives tokens (N, tokens, D): take the first, which is the class token, or the mean of all.",
    ),
)
