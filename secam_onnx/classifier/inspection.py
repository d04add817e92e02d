"""A report of what was found in a model, to read before trusting its explanations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from secam_onnx.classifier.metadata import WHOLE, BranchRecord, Declared, HeadRecord, ModelMetadata
from secam_onnx.classifier.metadata.head_record import last_blocks
from secam_onnx.classifier.open import open_model
from secam_onnx.classifier.opened_model import OpenModel, attribution_in_words
from secam_onnx.classifier.proof import pooled_error, prove
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.default_model import default_model
from secam_onnx.graph.locate import model_file
from secam_onnx.head_query import ANYTHING, HeadQuery, blocks_by_rule
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.progress import Progress, silent

__all__ = ["inspect_model"]


def inspect_model(
    path: str | os.PathLike[str] | None = None,
    *,
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    query: HeadQuery = ANYTHING,
    activation: str | None = None,
    attribution: str | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Report how `Explainer` would explain a model, and prove that its maps add up.

    Parameters
    ----------
    path : path, optional
        An explainable, fused or ordinary ONNX classifier, or its folder; the default model if none is given.
    preprocessing, activation, attribution : optional
        As in `Explainer`.
    query : HeadQuery
        What to look for in an ordinary model.
    progress : callable
        See `Progress`.

    Returns
    -------
    dict
        Plain JSON types.

    Raises
    ------
    ModelError
        The model cannot be explained; the message lists the tensors that were considered, with reasons. Or its outputs
        differ from those of its file in plain ONNX Runtime.
    """
    file = model_file(path if path is not None else default_model())
    with progress(f"open {file}"):
        model = open_model(
            file,
            providers="cpu",
            preprocessing=preprocessing,
            query=query,
            activation=activation,
            attribution=attribution,
            verify=True,
        )
    with progress("prove that the map adds up to the logits") as update:
        if isinstance(model, Classifier):
            measured = dict(prove(model, update))
        else:
            measured = {"max_relative_error": pooled_error(model)}
    metadata = model.metadata
    return {
        "model": str(file),
        "exported": bool(metadata.completeness),
        **_inputs(model),
        **_preprocessing(metadata),
        **_head(model, query),
        "logits": {
            "output": metadata.logits,
            "explained_output": metadata.explained_output,
            "activation": metadata.activation,
            "explained": metadata.explained,
            "probability": metadata.probability_note,
        },
        "classes": model.n_classes,
        "labels": list(metadata.labels) if metadata.labels else None,
        "fidelity": _now_and_at_export(model.fidelity or {}, metadata.fidelity),
        "completeness": _now_and_at_export(measured, metadata.completeness),
    }


def _preprocessing(metadata: ModelMetadata) -> dict[str, Any]:
    return {
        "preprocessing_note": f"{metadata.origin.get('preprocessing', 'as exported')}: {metadata.preprocessing}",
        "preprocessing": metadata.preprocessing.to_dict(),
        "origin": dict(metadata.origin),
    }


def _head(model: OpenModel, query: HeadQuery) -> dict[str, Any]:
    head = model.metadata.head
    attention = {} if head.attention is None else {"attention": vars(head.attention)}
    return {
        "feature_map": {**_map(head), "why": _why(head, query)},
        **({"further_feature_maps": [_map(entry) for entry in head.further]} if head.further else {}),
        "head": {
            "kind": head.kind,
            "algebra": head.algebra,
            "attribution": attribution_in_words(model.attribution, head),
            **attention,
            "steps": [{"node": node, "reason": reason} for node, reason in head.steps],
            "weights": list(head.weights),
        },
        "rejected": [{"tensor": tensor, "reason": reason} for tensor, reason in head.rejected],
    }


def _why(head: HeadRecord, query: HeadQuery) -> str:
    """Why this feature map, and no other."""
    attention = head.attention
    if query.features is not None:
        return "asked for by name"
    if attention is None:
        return f"the last spatial tensor {'of each branch ' if head.further else ''}before the logits"
    blocks = last_blocks(attention)
    if query.blocks is not None:
        return f"the tokens before {blocks}, as asked"
    if attention.passed != (blocks_by_rule(attention.total),):
        return f"the tokens before {blocks}: the nearest beyond a third of them, or asked for at export"
    return f"the tokens before {blocks}: a third of them, rounded up, as tokens lose their place with depth"


def _now_and_at_export(now: Mapping[str, Any], at_export: Mapping[str, Any]) -> dict[str, Any]:
    return {"measured_now": dict(now), "at_export": dict(at_export) or "not exported"}


def _map(entry: HeadRecord | BranchRecord) -> dict[str, Any]:
    span = {} if entry.span == WHOLE else {"part_of_the_picture": [list(ends) for ends in entry.span]}
    return {"tensor": entry.features, "shape": list(entry.shape), "layout": entry.layout, **span}


def _inputs(model: OpenModel) -> dict[str, Any]:
    """The input, or the inputs and outputs of a fused model and how it was made."""
    if isinstance(model, Classifier):
        input_ = model.input
        found = {"name": input_.name, "shape": list(input_.shape), "axes": input_.axes, "channels": input_.channels}
        return {"input": found}
    record = model.metadata.fused
    assert record is not None
    superpixels = {**vars(record.segmenter), "at_most": record.n_segments}
    return {
        "fused": {
            "inputs": _listed(record.inputs),
            "outputs": _listed(record.outputs),
            "own_outputs": list(record.own_outputs.values()),
            "opset": record.opset,
            "superpixels": superpixels,
            "classes_by_default": f"top-{record.top_k}" if record.default_classes else "none: each run says which",
            "overlay": str(record.selection) if record.overlay else "left out",
            "weights": "stored as float16" if record.float16 else "as in the model",
            "compared_with_the_explainer": dict(record.agreement),
        }
    }


def _listed(tensors: Declared) -> list[dict[str, str]]:
    return [
        {"name": name, "type": f"{dtype} ({', '.join(map(str, shape))})"} for name, (dtype, shape) in tensors.items()
    ]
