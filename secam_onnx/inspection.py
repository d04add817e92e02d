"""What is found in a model, for people who want to know before they trust an explanation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from secam_onnx.answer import ATTRIBUTIONS
from secam_onnx.classifier import open_classifier
from secam_onnx.preprocess import Preprocessing
from secam_onnx.proof import prove
from secam_onnx.settings import PreprocessingSettings
from secam_onnx.sidecars import default_model

__all__ = ["inspect_model"]


def inspect_model(
    path: str | os.PathLike[str] | None = None,
    *,
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    output: str | None = None,
    features: str | None = None,
    tokens: tuple[int, int] | None = None,
    attribution: str | None = None,
) -> dict[str, Any]:
    """Report what `Explainer` would use of a model, and prove it.

    Parameters
    ----------
    path : path, optional
        An explainable model or an ordinary ONNX classifier, or its folder; the default model if none is given.
    preprocessing, output, features, tokens, attribution : optional
        As in `Explainer`.

    Returns
    -------
    dict
        Plain JSON types.

    Raises
    ------
    ModelError
        The model cannot be explained; the message lists what was looked at, with reasons.
    """
    file = Path(path) if path is not None else default_model()
    classifier = open_classifier(
        file,
        providers="cpu",
        preprocessing=preprocessing,
        output=output,
        features=features,
        tokens=tokens,
        attribution=attribution,
    )
    contract = classifier.contract
    head = contract.head
    return {
        "model": str(file),
        "exported": bool(contract.completeness),
        "input": {"name": classifier.input.name, "shape": list(classifier.input.shape)},
        "preprocessing_note": f"{contract.origin.get('preprocessing', 'as exported')}: {contract.preprocessing}",
        "preprocessing": contract.preprocessing.to_dict(),
        "origin": dict(contract.origin),
        "feature_map": {
            "tensor": head.features,
            "shape": list(head.shape),
            "layout": head.layout,
            "why": "the last spatial tensor before the logits" if features is None else "asked for by name",
        },
        "head": {
            "kind": head.kind,
            "algebra": head.algebra,
            "attribution": ATTRIBUTIONS[classifier.way],
            "steps": [{"node": node, "reason": reason} for node, reason in head.steps],
            "weights": list(head.weights),
        },
        "rejected": [{"tensor": tensor, "reason": reason} for tensor, reason in head.rejected],
        "logits": {"output": contract.logits, "explained_output": contract.output, "activation": contract.activation},
        "classes": classifier.n_classes,
        "labels": list(contract.labels) if contract.labels else None,
        "completeness": {
            "measured_now": dict(prove(classifier)),
            "at_export": dict(contract.completeness) or "not exported",
        },
    }
