"""What a request asks: of either version of the protocol, checked before any work is done for it.

Nothing in a request is a path or an address; photographs come with it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from kserve import InferInput, InferRequest
from kserve.protocol.infer_type import to_http_parameters

from secam_onnx.explainer import Explainer
from secam_onnx.images import EncodedImage, as_rgb
from secam_onnx.labels import ClassQuery, class_codes
from secam_onnx.serve.engine import Work
from secam_onnx.serve.failures import MalformedError
from secam_onnx.serve.settings import Limits
from secam_onnx.superpixels import Segmenter

__all__ = [
    "DRAWN",
    "ENCODED",
    "EXTRAS",
    "OUTPUTS",
    "PICTURES",
    "PIXELS",
    "Question",
    "infer_question",
    "instances_question",
    "raw_question",
]

ENCODED, PIXELS = "encoded_image", "image"
"""The two inputs of `infer`, of which a request gives one: BYTES `(N,)`, and UINT8 `(N, H, W, 3)`."""

_SUPERPIXELS = ("segments", "n_segments", "segment_scores", "segment_contributions")
PICTURES = ("overlay", "overlay_png")
OUTPUTS = ("class_id", "label", "probability", "score", "bias", "cam", *_SUPERPIXELS, "box", *PICTURES)
"""The outputs of `infer`; without a list of them, all but the pictures are sent."""

DRAWN = ("overlay", "heatmap", "panel")
EXTRAS = ("cam", "segments", *DRAWN)
"""What `:explain` adds to its numbers where it is asked to."""

# Of the protocol itself and its clients, besides ours.
_IGNORED = {
    *("binary_data_output", "content_type", "sequence_id", "sequence_start", "sequence_end", "priority", "timeout"),
    "headers",
}
_PREDICTED = 5
_ELSEWHERE = {"url", "uri", "path", "file"}


@dataclass(frozen=True)
class Question:
    """A request that was understood.

    Attributes
    ----------
    work : Work
        What is to be done.
    outputs : tuple of str
        What is to be sent: of `OUTPUTS`, or of `EXTRAS`.
    top_k : int
        How many classes a prediction has.
    """

    work: Work
    outputs: tuple[str, ...] = ()
    top_k: int = 0


def instances_question(body: Any, explainer: Explainer, limits: Limits, *, explain: bool) -> Question:
    """Of `{"instances": [{"image": {"b64": ...}}, ...], "parameters": {...}}`.

    Raises
    ------
    MalformedError
        It says what was found and what was expected.
    ClassError
        A class that the model does not have.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("instances"), list):
        raise MalformedError(
            'A JSON object was expected: {"instances": [{"image": {"b64": "..."}}]}; or send a JPEG, PNG or WebP file '
            "as it is, with its Content-Type."
        )
    unknown = set(body) - {"instances", "parameters"}
    if unknown:
        raise MalformedError(f"Unknown entry {min(unknown)!r}; there are 'instances' and 'parameters'.")
    instances = body["instances"]
    _check_number(len(instances), limits)
    images = [_instance(instance, place) for place, instance in enumerate(instances)]
    parameters = body.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise MalformedError(f"'parameters' is {_shown(parameters)}; an object was expected.")
    return _question(images, dict(parameters or {}), explainer, limits, explain=explain)


def raw_question(
    body: bytes, query: str, explainer: Explainer, limits: Limits, *, explain: bool, picture: bool = False
) -> Question:
    """Of one image file as it is, with parameters in the address; raises as `instances_question`.

    Where a `picture` is wanted in place of the numbers, it is the first one among the outputs, or the panel.
    """
    try:
        fields = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=50)
    except ValueError as error:
        raise MalformedError(f"The address has no parameters of the form ?class=tabby&top_k=3 ({error}).") from error
    classes = [name for key in ("class", "classes") for name in fields.pop(key, [])]
    parameters: dict[str, Any] = {name: values[-1] for name, values in fields.items()}
    for name in ("top_k", "segments"):
        if name in parameters:
            parameters[name] = _whole_number(parameters[name], name)
    if "outputs" in parameters:
        parameters["outputs"] = parameters["outputs"].split(",")
    if picture and not set(parameters.get("outputs", ())) & set(DRAWN):
        parameters["outputs"] = ["panel"]
    if classes:
        parameters["classes"] = classes
    return _question([EncodedImage("the image", body)], parameters, explainer, limits, explain=explain)


def infer_question(request: InferRequest, explainer: Explainer, limits: Limits) -> Question:
    """Of an `infer` request; raises as `instances_question`."""
    if len(request.inputs) != 1:
        found = ", ".join(repr(given.name) for given in request.inputs) or "none"
        raise MalformedError(
            f"There are {len(request.inputs)} inputs ({found}); one was expected, {ENCODED!r} or {PIXELS!r}."
        )
    (given,) = request.inputs
    if given.name == ENCODED:
        images: Sequence[EncodedImage | np.ndarray] = _encoded(given, limits)
    elif given.name == PIXELS:
        images = _pixels(given, limits)
    else:
        raise MalformedError(
            f"There is no input {_shown(given.name)}; {PIXELS!r} takes UINT8 (N, H, W, 3), {ENCODED!r} BYTES (N,)."
        )
    wanted = request.request_outputs or []
    names = tuple(dict.fromkeys(entry.name for entry in wanted)) or tuple(
        name for name in OUTPUTS if name not in PICTURES
    )
    _check_names(names, OUTPUTS)
    parameters = {
        name: value
        for name, value in to_http_parameters(request.parameters or {}).items()
        if name not in _IGNORED and not name.startswith("triton_")
    }
    if "outputs" in parameters:
        raise MalformedError("'outputs' is no parameter of infer; name them in the request's list of outputs.")
    return _question(images, parameters, explainer, limits, outputs=names, explain=True)


def _question(
    images: Sequence[EncodedImage | np.ndarray],
    parameters: dict[str, Any],
    explainer: Explainer,
    limits: Limits,
    *,
    outputs: tuple[str, ...] | None = None,
    explain: bool,
) -> Question:
    known = {"classes", "top_k", "segments", "outputs"} if explain else {"top_k"}
    unknown = set(map(str, parameters)) - known
    if unknown:
        raise MalformedError(f"Unknown parameter {_shown(min(unknown))}; there are {', '.join(sorted(known))}.")
    n_classes = explainer.classifier.n_classes
    if not explain:
        top = min(_PREDICTED, n_classes) if parameters.get("top_k") is None else _top_k(parameters["top_k"])
        class_codes([f"top-{top}"], n_classes)  # complains
        return Question(Work(images, ("top-1",), 1, None, keep_images=False), top_k=top)
    queries = _queries(parameters)
    codes = class_codes(queries, n_classes, explainer.labels)
    names = outputs if outputs is not None else _extras(parameters.get("outputs"))
    pictures = any(name in (*PICTURES, *DRAWN) for name in names)
    _check_maps(len(images), len(codes), limits.max_pictures if pictures else limits.max_maps)
    segmenter = _segmenter(parameters.get("segments"), explainer, limits)
    needed = outputs is None or pictures or any(name in _SUPERPIXELS for name in names)
    work = Work(images, tuple(queries), len(codes), segmenter if needed else None, keep_images=pictures)
    return Question(work, names)


def _instance(instance: Any, place: int) -> EncodedImage:
    image = instance.get("image") if isinstance(instance, Mapping) and set(instance) == {"image"} else None
    if not isinstance(image, Mapping) or set(image) != {"b64"} or not isinstance(image["b64"], str):
        named = set(image) if isinstance(image, Mapping) else set(instance) if isinstance(instance, Mapping) else set()
        why = " Addresses are not opened here; send the file itself." if named & _ELSEWHERE else ""
        raise MalformedError(
            f'instances[{place}] is {_shown(instance)}; {{"image": {{"b64": "..."}}}} was expected.{why}'
        )
    return EncodedImage(f"instances[{place}]", _decoded(image["b64"], f"instances[{place}].image.b64"))


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"{where} is no base64 ({error}): {_shown(text)}") from error


def _encoded(given: InferInput, limits: Limits) -> list[EncodedImage]:
    _check_dtype(given, "BYTES")
    length = _length(given, given.shape[:1] if list(given.shape[1:]) == [1] else given.shape, 1, limits)
    values = given.as_numpy().ravel() if given._raw_data is not None else _flat(given.data)
    if len(values) != length:
        raise MalformedError(f"Input {given.name!r} has shape {list(given.shape)} but {len(values)} values.")
    names = [f"{given.name}[{place}]" for place in range(length)]
    images = []
    for name, value in zip(names, values, strict=True):
        data = _decoded(value, name) if isinstance(value, str) else value  # JSON has no bytes
        if not isinstance(data, bytes):
            raise MalformedError(
                f"{name} is {_shown(value)}; the bytes of an image file were expected, in JSON as base64."
            )
        images.append(EncodedImage(name, data))
    return images


def _pixels(given: InferInput, limits: Limits) -> list[np.ndarray]:
    _check_dtype(given, "UINT8")
    length = _length(given, given.shape, 4, limits)
    height, width, channels = given.shape[1:]
    if channels != 3 or min(height, width) < 1:
        hint = " Channels come last." if height == 3 else ""
        raise MalformedError(f"Input {given.name!r} has shape {list(given.shape)}; (N, H, W, 3) was expected.{hint}")
    if height * width > limits.max_pixels:
        raise MalformedError(
            f"Photographs of {width} x {height} pixels are over the limit of {limits.max_pixels:,}; make them smaller."
        )
    values = np.frombuffer(given._raw_data, np.uint8) if given._raw_data is not None else _bytes(given)
    if values.size != length * height * width * 3:
        raise MalformedError(f"Input {given.name!r} has shape {list(given.shape)} but {values.size} values.")
    pictures = values.reshape(given.shape)
    return [as_rgb(picture, name=f"{given.name}[{place}]") for place, picture in enumerate(pictures)]


def _bytes(given: InferInput) -> np.ndarray:
    values = _flat(given.data)
    try:
        numbers = np.array(values)
    except (ValueError, OverflowError) as error:
        raise MalformedError(
            f"Input {given.name!r} holds no numbers ({error}); whole numbers of 0 to 255 were expected."
        ) from error
    if numbers.size and (numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() > 255):
        raise MalformedError(f"Input {given.name!r} holds other values than whole numbers of 0 to 255.")
    return numbers.astype(np.uint8).ravel()


def _flat(data: Any) -> list[Any]:
    """The values of a tensor in JSON, which may be nested."""
    values = data if isinstance(data, list) else [data]
    while values and isinstance(values[0], list):
        if not all(isinstance(value, list) for value in values):
            raise MalformedError("A tensor's data is nested unevenly.")
        values = [item for value in values for item in value]
    return values


def _length(given: InferInput, shape: Sequence[int], axes: int, limits: Limits) -> int:
    if len(shape) != axes or not all(isinstance(length, int) and length >= 0 for length in shape):
        expected = "(N, H, W, 3)" if axes == 4 else "(N,)"
        raise MalformedError(f"Input {given.name!r} has shape {list(given.shape)}; {expected} was expected.")
    _check_number(shape[0], limits)
    return shape[0]


def _check_dtype(given: InferInput, expected: str) -> None:
    if given.datatype != expected:
        raise MalformedError(f"Input {given.name!r} is {_shown(given.datatype)}; {expected} was expected.")


def _check_number(images: int, limits: Limits) -> None:
    if not 1 <= images <= limits.max_images:
        raise MalformedError(f"There are {images} photographs; 1 to {limits.max_images} were expected in one request.")


def _check_maps(images: int, classes: int, limit: int) -> None:
    if images * classes > limit:
        raise MalformedError(
            f"{images} photographs for {classes} classes are {images * classes} maps, over the limit of {limit} for "
            "what is asked; ask for fewer classes, or for no pictures."
        )


def _check_names(names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise MalformedError(f"There is no output {_shown(name)}; there are {', '.join(known)}.")


def _extras(given: Any) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MalformedError(f"'outputs' is {_shown(given)}; a list of names was expected: {', '.join(EXTRAS)}.")
    _check_names(names, EXTRAS)
    return tuple(dict.fromkeys(names))


def _queries(parameters: Mapping[str, Any]) -> list[ClassQuery]:
    """`classes`: an index; a name, top-K or all; several of these as a list, as JSON in a string, or with commas."""
    given, top = parameters.get("classes"), parameters.get("top_k")
    queries = [] if given is None else _listed(given)
    if not all(isinstance(query, int | str) and not isinstance(query, bool) for query in queries):
        raise MalformedError(f"'classes' is {_shown(given)}; names, indices, top-K or all were expected.")
    if given is not None and not queries:
        raise MalformedError("'classes' is empty; give a name, an index, top-K or all.")
    if top is not None:
        queries.append(f"top-{_top_k(top)}")
    return queries or ["top-1"]


def _listed(given: Any) -> list[Any]:
    if isinstance(given, list):
        return list(given)
    if not isinstance(given, str):
        return [given]
    if given.lstrip().startswith("["):
        try:
            listed = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"'classes' is no JSON list ({error}): {_shown(given)}") from error
        return list(listed)
    return [part.strip() for part in given.split(",") if part.strip()]


def _top_k(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise MalformedError(f"'top_k' is {_shown(value)}; a whole number was expected.")
    return value


def _segmenter(value: Any, explainer: Explainer, limits: Limits) -> Segmenter:
    if value is None:
        return explainer.segmenter
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limits.max_segments:
        raise MalformedError(
            f"'segments' is {_shown(value)}; a whole number of 1 to {limits.max_segments} was expected."
        )
    return dataclasses.replace(explainer.segmenter, segments=value)


def _whole_number(text: str, name: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10):
        raise MalformedError(f"{name!r} is {_shown(text)}; a whole number was expected.")
    return int(text)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
