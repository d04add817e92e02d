"""The one path from any source to an explainable file: find the head, expose, prove, write."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

from onnx import ModelProto

from secam_onnx.checks.structure import damage_explained
from secam_onnx.classifier import Classifier, make_classifier
from secam_onnx.contract import Contract
from secam_onnx.explainable import make_explainable
from secam_onnx.export.source import Source
from secam_onnx.files import output_errors
from secam_onnx.head import Graph, Head
from secam_onnx.onnx_file import check_writable, has_external_data, weights_moved_out, write_model
from secam_onnx.proof import prove

__all__ = ["Progress", "export_model"]

Progress = Callable[[str], AbstractContextManager[object]]
"""Called with the name of a step; the step runs inside the context manager that it returns."""


def export_model(
    source: Source,
    path: str | os.PathLike[str],
    *,
    output: str | None = None,
    features: str | None = None,
    tokens: tuple[int, int] | None = None,
    overwrite: bool = False,
    progress: Progress = contextlib.nullcontext,
) -> Contract:
    """Write an explainable model.

    Parameters
    ----------
    source : Source
        A plain model; its graph is changed in place.
    path : path
        Where to write; the file appears whole or not at all.
    output, features : str, optional
        Which output to explain, and a feature map further up, by name.
    tokens : (int, int), optional
        Rows and columns of a feature map `(N, tokens, C)`; a square by default.
    overwrite : bool
        Replace an existing file.
    progress : callable
        See `Progress`.

    Returns
    -------
    Contract
        What was written into the file.

    Raises
    ------
    ModelError
        The model cannot be explained; the message says why.
    OutputError
        The file exists, or cannot be written.
    """
    target = Path(path)
    check_writable(target, overwrite=overwrite)
    model = source.model
    with damage_explained(model), weights_moved_out(model, target):
        with progress("find the head"):
            graph, head, contract = make_explainable(
                model,
                source.preprocessing,
                labels=source.labels,
                file=source.file,
                origin={**source.origin, "exporter": f"secam-onnx {version('secam-onnx')}"},
                output=output,
                features=features,
                tokens=tokens,
            )
        with (
            progress("prove that the map adds up to the logits"),
            _trial(model, graph, head, contract, target.parent) as classifier,
        ):
            contract = dataclasses.replace(contract, completeness=prove(classifier))
        with progress(f"write {target}"):
            contract.write_to(model)
            write_model(model, target, overwrite=overwrite)
    return contract


@contextlib.contextmanager
def _trial(model: ModelProto, graph: Graph, head: Head, contract: Contract, folder: Path) -> Iterator[Classifier]:
    """The model as it will be written, running; one whose weights are in a file of their own runs from beside it."""
    if not has_external_data(model):
        yield make_classifier("trial", model.SerializeToString(), graph, head, contract, providers="cpu")
        return
    file = folder / f".secam-{secrets.token_hex(6)}.onnx"
    try:
        with output_errors(file):
            file.write_bytes(model.SerializeToString())
        yield make_classifier("trial", file, graph, head, contract, folder, providers="cpu")
    finally:
        file.unlink(missing_ok=True)
