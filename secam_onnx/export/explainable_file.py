"""The path from any source to an explainable or fused file: analyse, compare, prove, write."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import onnx
from onnx import ModelProto

from secam_onnx import runtime
from secam_onnx.arguments import checked
from secam_onnx.classifier.analysis import AnalysedModel, analyse
from secam_onnx.classifier.fidelity import REPORT, ReferenceOutputs, rounding_tolerance, run_reference, trial_images
from secam_onnx.classifier.fused import FusedModel
from secam_onnx.classifier.metadata import Fidelity, ModelMetadata
from secam_onnx.classifier.proof import prove, prove_fused
from secam_onnx.classifier.sessions import open_network, open_sessions
from secam_onnx.classifier.trials import check_probabilities
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.export.source import Source, from_onnx
from secam_onnx.fusion import Fusion, fused_model, ready_to_fuse
from secam_onnx.graph.checks.structure import damage_explained
from secam_onnx.graph.onnx_file import check_writable, has_external_data, weights_moved_out, write_model
from secam_onnx.graph.weights import without_weights
from secam_onnx.head_query import ANYTHING, HeadQuery
from secam_onnx.labels.given import given_labels
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.progress import Progress, silent

__all__ = ["Progress", "export_model", "fuse"]

_CONVERTED = (
    "onnx changed it when it converted the model to the opset of fused models. Export the model with opset 18 or newer."
)


@checked("progress")
def export_model(
    source: Source,
    path: str | os.PathLike[str],
    *,
    query: HeadQuery = ANYTHING,
    activation: str | None = None,
    fusion: Fusion | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> ModelMetadata:
    """Write an explainable or fused model.

    Parameters
    ----------
    source : Source
        The model; its graph is changed in place.
    path : path
        Where to write. The file appears complete or not at all.
    query : HeadQuery
        What to look for in the model.
    activation : str, optional
        What turns raw outputs into probabilities (see `choose_activation`).
    fusion : Fusion, optional
        Write a fused model, with all of SeCAM in its graph.
    overwrite : bool
        Replace an existing file.
    progress : callable
        See `Progress`.

    Returns
    -------
    ModelMetadata
        The metadata in the file.

    Raises
    ------
    ModelError
        The model cannot be explained, or a comparison or proof fails; the message says why.
    OutputError
        The file exists, or cannot be written.
    """
    target = Path(path)
    check_writable(target, overwrite=overwrite)
    if query.logits is None:
        query = dataclasses.replace(query, logits=source.logits)
    model = source.model if fusion is None else ready_to_fuse(source.model)
    with damage_explained(model), weights_moved_out(model, target):
        # As it is now, before outputs are added.
        original = without_weights(source.model, target.parent) if source.file is None else None
        with progress("find the head"):
            analysed = analyse(
                model,
                source.preprocessing,
                labels=source.labels,
                file=source.sidecars,
                folder=target.parent,
                origin={**source.origin, "exporter": f"secam-onnx {version('secam-onnx')}"},
                query=query,
                activation=activation,
            )
        with progress("compare with the file, and prove that the map adds up to the logits") as update:
            reference = _reference(source, original, analysed)
            attribution = None if fusion is None else fusion.attribution
            classifier = open_sessions("trial", analysed, "cpu", attribution, split=False)
            classifier.compare(reference, REPORT if model is source.model else _CONVERTED)
            check_probabilities(classifier, analysed.head.class_output, activation)
            metadata = dataclasses.replace(
                classifier.metadata, completeness=prove(classifier, update), fidelity=classifier.fidelity or Fidelity()
            )
        if fusion is not None:
            with progress("fuse, and compare with the explainer"):
                analysed = dataclasses.replace(analysed, metadata=metadata)
                model, metadata = _fused(analysed, fusion, classifier, reference, target)
        with progress(f"write {target}"):
            metadata.write_to(model)
            write_model(model, target, overwrite=overwrite)
    return metadata


@checked("labels")
def fuse(
    model: str | os.PathLike[str],
    path: str | os.PathLike[str],
    fusion: Fusion | None = None,
    *,
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    labels: Sequence[str] | None = None,
    logits: str | None = None,
    features: str | None = None,
    token_grid: tuple[int, int] | None = None,
    blocks: int | tuple[int, ...] | None = None,
    activation: str | None = None,
    overwrite: bool = False,
) -> ModelMetadata:
    """Write a fused model: an ordinary ONNX file with all of SeCAM in its graph.

    Parameters
    ----------
    model : path
        An explainable model or an ordinary ONNX classifier, or its folder.
    path : path
        Where to write. The file appears complete or not at all.
    fusion : Fusion, optional
        What goes into the graph.
    preprocessing, labels : optional
        For a model whose file does not say.
    logits, features, token_grid, blocks, activation
        As in `Explainer`.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    ModelMetadata
        The metadata in the file; its `fused` describes inputs and outputs.

    Raises
    ------
    ModelError
        The model cannot be explained, or a comparison or proof fails; the message says why.
    OutputError
        The file exists, or cannot be written.
    """
    source = from_onnx(model)
    if preprocessing is not None:
        source = dataclasses.replace(source, preprocessing=preprocessing)
    if labels is not None:
        source = dataclasses.replace(source, labels=given_labels(labels))
    query = HeadQuery(logits, features, token_grid, blocks)
    return export_model(
        source, path, query=query, activation=activation, fusion=fusion or Fusion(), overwrite=overwrite
    )


def _reference(
    source: Source, original: tuple[ModelProto, runtime.SharedWeights] | None, analysed: AnalysedModel
) -> ReferenceOutputs:
    """The outputs of the source for the trial images: of its file, or of the model as it was before the analysis."""
    if source.file is not None:
        session = runtime.open_as_it_is(source.file)
    else:
        assert original is not None
        light, weights = original
        session = open_network(light, weights, "cpu")
    preprocessing = analysed.metadata.preprocessing
    tolerance = rounding_tolerance(source.model)
    return run_reference(session, analysed.input, preprocessing, trial_images(preprocessing), tolerance)


def _fused(
    analysed: AnalysedModel, fusion: Fusion, classifier: Classifier, reference: ReferenceOutputs, target: Path
) -> tuple[ModelProto, ModelMetadata]:
    """The fused model and its metadata, compared with the explainer and checked by onnx."""
    model, metadata = fused_model(analysed, fusion)
    metadata = metadata.with_agreement(prove_fused(_opened(model, metadata, target), classifier, reference))
    if not has_external_data(model):  # which onnx would look for elsewhere
        onnx.checker.check_model(model, full_check=True)
    return model, metadata


def _opened(model: ModelProto, metadata: ModelMetadata, target: Path) -> FusedModel:
    """Open a fused model before it is written."""
    light, weights = without_weights(model, target.parent)
    known = {value.name for value in light.graph.input}
    light.graph.input.extend(value for value in model.graph.input if value.name not in known)  # it has a default
    return FusedModel(target.name, metadata, open_network(light, weights, "cpu"))
