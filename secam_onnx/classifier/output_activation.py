"""What turns logits into probabilities: as the graph, the user, or the values of the output say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.classifier.opened_model import probabilities_of
from secam_onnx.errors import REPORT_MODEL, ModelError, OptionError
from secam_onnx.head import ClassOutput

__all__ = ["ACTIVATIONS", "check_activation", "choose_activation"]

ACTIVATIONS = ("auto", "softmax", "sigmoid", "none")
"""The choices for raw outputs."""

_ROUNDING = 1e-3  # of sums of probabilities, float16 ones too
_TOLERANCE = 0.03  # relative; a clip near 0 and 1 takes 0.02
_STEPS = 2 / 255  # of quantised probabilities


def choose_activation(
    output: ClassOutput, wanted: str | None, beside: tuple[str, str] | None = None
) -> tuple[str, str]:
    """Choose what turns logits into probabilities, as far as the graph and the user say.

    Parameters
    ----------
    output : ClassOutput
        The output, as the graph has it.
    wanted : {'softmax', 'sigmoid', 'none', 'auto'}, optional
        The user's choice.
    beside : (str, str), optional
        What other outputs or the files beside the model say about raw outputs, and a note where that comes from.

    Raises
    ------
    OptionError
        `wanted` is unknown, contradicts the graph, or is a softmax of a single output.
    """
    if wanted not in (None, *ACTIVATIONS):
        raise OptionError(f"Unknown activation {wanted!r}; there are {', '.join(ACTIVATIONS)}.")
    own = output.activation.removeprefix("log_")
    if own != "none":
        if wanted not in (None, "auto", own):
            raise OptionError(
                f"The activation {wanted!r} was given, but the model itself applies {output.activation} to its logits "
                f"{output.logits!r}. Leave --activation out; --logits {output.logits} explains them as raw numbers."
            )
        return own, ""
    if wanted == "softmax" and output.n_logits == 1:
        raise OptionError(
            f"The activation 'softmax' was given, but {output.logits!r} is one raw output: its softmax is always 1. If "
            "it is a logit, sigmoid gives its probability; none leaves it a number."
        )
    if wanted not in (None, "auto"):
        return wanted, "as given"
    if beside is not None and output.kind != "activated" and (beside[0], output.n_logits) != ("softmax", 1):
        return beside
    if output.kind == "activated":
        return "none", (
            "none: the output is computed from a softmax or sigmoid in a way that is not understood; give its "
            "kind with --activation, or the tensor before it with --logits"
        )
    if output.n_logits == 1:
        return "none", "none: one raw output; if it is a logit, --activation sigmoid gives its probability"
    return "softmax", "assumed: softmax of the raw outputs, since the file does not say; --activation sigmoid or none"


def check_activation(
    metadata: ModelMetadata,
    output: ClassOutput,
    forward: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    inputs: Iterable[np.ndarray],
    wanted: str | None = None,
) -> ModelMetadata:
    """Check by runs what the graph says about probabilities; if neither graph nor user says, decide by the values.

    Parameters
    ----------
    metadata : ModelMetadata
        With the result of `choose_activation`.
    output : ClassOutput
        The output, as the graph has it.
    forward : callable
        Computes logits and probabilities, `(1, classes)`, from an input of the model.
    inputs : iterable of ndarray
        Several inputs of the model.
    wanted : str, optional
        See `choose_activation`.

    Returns
    -------
    ModelMetadata
        Changed if the values show that the output holds probabilities.

    Raises
    ------
    ModelError
        The probabilities are not those of the logits.
    """
    if output.activation != "none":
        for given in inputs:
            _compare(metadata, output, *forward(given))
        return metadata
    if wanted not in (None, "auto") or (output.kind == "raw" and output.n_logits == 1):
        return metadata
    sums_to_one = inside = True
    count = 0
    for given in inputs:
        values, _ = forward(given)
        inside &= bool(values.min() >= -_ROUNDING and values.max() <= 1 + _ROUNDING)
        sums_to_one &= bool(abs(values.sum() - 1) <= _ROUNDING)
        count += 1
        if not inside:
            return metadata
    if sums_to_one and output.n_logits > 1:
        why = "between 0 and 1, and sum to 1"
    elif output.kind != "raw":
        why = "between 0 and 1"
    else:
        return metadata
    note = f"the output itself: its values are {why}, on {count} pictures"
    return dataclasses.replace(metadata, probabilities=metadata.logits, origin={**metadata.origin, "probability": note})


def _compare(metadata: ModelMetadata, output: ClassOutput, logits: np.ndarray, probabilities: np.ndarray) -> None:
    expected = probabilities_of(logits, output.activation.removeprefix("log_"))
    found = probabilities
    if output.activation != "sigmoid":
        # An output of some of the classes keeps only the ratios.
        found = probabilities / max(float(probabilities.sum()), 1e-30)
        if logits.shape[1] == 1:
            return
    scale = float(np.abs(found).max())
    allowed = _TOLERANCE * scale + (_STEPS if output.rounded else 1e-6)
    worst = int(np.abs(found - expected).argmax())
    if not np.abs(found - expected).max() <= allowed:
        raise ModelError(
            f"The model was read as {output.activation} of {output.logits!r}, but for class {worst} the output "
            f"{metadata.explained_output!r} gives {found[0, worst]:.4g}, where that is {expected[0, worst]:.4g}. "
            f"{REPORT_MODEL} --logits {output.logits} explains the numbers before."
        )
