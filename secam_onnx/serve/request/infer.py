"""An `infer` request of the Open Inference Protocol, whichever server received it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from secam_onnx.errors import OptionError
from secam_onnx.explainer import Explainer
from secam_onnx.serve.request.input_images import ENCODED, PIXELS, InputTensor, images_of_tensor
from secam_onnx.serve.request.limits import RequestLimits
from secam_onnx.serve.request.parameters import (
    OUTPUTS,
    PICTURES,
    ExplanationRequest,
    check_names,
    explanation_request,
)
from secam_onnx.shown_text import quoted

__all__ = ["check_bool", "infer_request", "of_protocol"]

# Parameters of the protocol and of its clients, which mean nothing here.
_IGNORED = {"content_type", "headers", "priority", "sequence_end", "sequence_id", "sequence_start", "timeout"}
_BINARY_DEFAULT = "binary_data_output"


def infer_request(
    inputs: Sequence[InputTensor],
    parameters: Mapping[str, Any],
    outputs: Iterable[str],
    explainer: Explainer,
    limits: RequestLimits,
) -> ExplanationRequest:
    """Read an `infer` request and check it before any work is done for it.

    Parameters
    ----------
    inputs : sequence of InputTensor
        One is expected, `encoded_image` or `image`.
    parameters : mapping of str to object
        `classes`, `top_k` and `n_segments`; those of the protocol itself are ignored.
    outputs : iterable of str
        Names of the outputs to send; all but the pictures if there are none.
    explainer : Explainer
        The model.
    limits : RequestLimits
        What one request may ask for.

    Raises
    ------
    OptionError
        The message says what was found and what was expected.
    ClassError
        A class that the model does not have.
    ImageError
        Pixels that are not a picture.
    """
    if len(inputs) != 1:
        found = quoted([given.name for given in inputs])
        raise OptionError(f"There are {len(inputs)} inputs, {found}; one was expected, {ENCODED!r} or {PIXELS!r}.")
    names = tuple(dict.fromkeys(outputs))
    check_names(names, OUTPUTS)
    own = {name: value for name, value in parameters.items() if not of_protocol(name)}
    check_bool(own, _BINARY_DEFAULT)
    own.pop(_BINARY_DEFAULT, None)
    if "outputs" in own:
        raise OptionError("'outputs' is not a parameter of infer; name them in the request's list of outputs.")
    images = images_of_tensor(inputs[0], limits)
    names = names or tuple(name for name in OUTPUTS if name not in PICTURES)
    return explanation_request(images, own, explainer, limits, outputs=names)


def check_bool(given: Mapping[str, Any], name: str) -> None:
    """Check that a parameter, if given, is true or false.

    Raises
    ------
    OptionError
        It is neither; the message shows the value.
    """
    if not isinstance(given.get(name, True), bool):
        raise OptionError(f"{name!r} is {quoted(given[name])}; true or false was expected.")


def of_protocol(name: str) -> bool:
    """Whether a parameter is the protocol's or a client's own, and means nothing here."""
    return name in _IGNORED or name.startswith("triton_")
