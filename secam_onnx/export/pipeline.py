"""The one path from any source to an explainable file: find the head, expose, prove, write."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

from secam_onnx.checks.structure import damage_explained
from secam_onnx.classifier import make_classifier
from secam_onnx.contract import Contract
from secam_onnx.explainable import make_explainable
from secam_onnx.export.source import Source
from secam_onnx.fusion import Fusion, fused_model, ready_to_fuse
from secam_onnx.onnx_file import check_writable, weights_moved_out, write_model
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
    fusion: Fusion | None = None,
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
    fusion : Fusion, optional
        Write a fused model instead, with all of SeCAM in its graph.
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
    model = source.model if fusion is None else ready_to_fuse(source.model)
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
        with progress("prove that the map adds up to the logits"):
            classifier = make_classifier(
                "trial", model, graph, head, contract, target.parent, providers="cpu", split=False
            )
            contract = dataclasses.replace(contract, completeness=prove(classifier))
        if fusion is not None:
            with progress("fuse"):
                model, contract = fused_model(model, graph, head, contract, fusion, target.parent)
        with progress(f"write {target}"):
            contract.write_to(model)
            write_model(model, target, overwrite=overwrite)
    return contract
