"""The photographs in a request of either version of the protocol. No path or URL in a request is ever opened.

Values are counted before they are converted, so that a request takes no more memory than its own size again.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secam_onnx.errors import OptionError
from secam_onnx.photograph.images import EncodedImage, as_rgb
from secam_onnx.serve.request.limits import RequestLimits
from secam_onnx.shown_text import quoted

__all__ = ["ENCODED", "PIXELS", "InputTensor", "images_of_instances", "images_of_tensor"]

ENCODED, PIXELS = "encoded_image", "image"
"""The two inputs of `infer`, of which a request gives one: BYTES `(N,)` or `(N, 1)`, and UINT8 `(N, H, W, 3)`."""

_ELSEWHERE = {"url", "uri", "path", "file"}
_OF_INPUTS = {"binary_data_size", "content_type"}  # parameters of the protocol, which mean nothing here


@dataclass(frozen=True)
class InputTensor:
    """An input of `infer`, whichever server received it.

    Attributes
    ----------
    name, datatype : str
        As the protocol has them: `"image"`, `"UINT8"`.
    shape : sequence of int
        As the client gave it.
    values : list
        The values, in one list or nested as the shape is; empty where `raw` has them.
    raw : bytes or memoryview, optional
        The values as bytes, as in the protocol's binary extension.
    parameters : mapping of str to object
        What the client says about it besides.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    values: list[Any] = field(default_factory=list)
    raw: bytes | memoryview | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_array(cls, name: str, array: np.ndarray) -> InputTensor:
        """Make one of an array of uint8, or of `bytes` objects."""
        if array.dtype == object:
            return cls(name, "BYTES", array.shape, array.ravel().tolist())
        return cls(name, array.dtype.name.upper(), array.shape, raw=np.ascontiguousarray(array).reshape(-1).data)


def images_of_instances(instances: Sequence[Any], limits: RequestLimits) -> list[EncodedImage]:
    """Read `[{"image": {"b64": ...}}, ...]`.

    Raises
    ------
    OptionError
        The message says what was found and what was expected.
    """
    _check_number(len(instances), limits)
    return [_instance(instance, place) for place, instance in enumerate(instances)]


def images_of_tensor(given: InputTensor, limits: RequestLimits) -> Sequence[EncodedImage | np.ndarray]:
    """Read an input of `infer`.

    Raises
    ------
    OptionError
        The message says what was found and what was expected.
    ImageError
        Pixels that are not a picture.
    """
    unknown = set(given.parameters) - _OF_INPUTS
    if unknown:
        raise OptionError(
            f"Input {quoted(given.name)} has an unknown parameter {quoted(min(unknown))}; data must come with the "
            "request, not in shared memory."
        )
    if given.name == ENCODED:
        return _encoded(given, limits)
    if given.name == PIXELS:
        return _pixels(given, limits)
    raise OptionError(
        f"Unknown input {quoted(given.name)}; {PIXELS!r} takes UINT8 (N, H, W, 3), {ENCODED!r} BYTES (N,)."
    )


def _instance(instance: Any, place: int) -> EncodedImage:
    image = instance.get("image") if isinstance(instance, Mapping) and set(instance) == {"image"} else None
    if not isinstance(image, Mapping) or set(image) != {"b64"} or not isinstance(image["b64"], str):
        named = set(image) if isinstance(image, Mapping) else set(instance) if isinstance(instance, Mapping) else set()
        why = " URLs and paths are not opened; send the file itself." if named & _ELSEWHERE else ""
        raise OptionError(f'instances[{place}] is {quoted(instance)}; {{"image": {{"b64": "..."}}}} was expected.{why}')
    return EncodedImage(f"instances[{place}]", _decoded(image["b64"], f"instances[{place}].image.b64"))


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise OptionError(f"{where} is not valid base64 ({error}): {quoted(text)}") from error


def _encoded(given: InputTensor, limits: RequestLimits) -> list[EncodedImage]:
    _check_dtype(given, "BYTES")
    length = _length(given, given.shape[:1] if list(given.shape[1:]) == [1] else given.shape, 1, limits)
    values = _flat(given) if given.raw is None else _elements(given.raw, given.name, length)
    _check_count(given, len(values), length)
    images = []
    for place, value in enumerate(values):
        name = f"{given.name}[{place}]"
        data = _decoded(value, name) if isinstance(value, str) else value  # as in JSON, which has no bytes
        if not isinstance(data, bytes):
            raise OptionError(
                f"{name} is {quoted(value)}; the bytes of an image file were expected, in JSON as base64."
            )
        images.append(EncodedImage(name, data))
    return images


def _elements(raw: bytes | memoryview, name: str, most: int) -> list[bytes]:
    """Byte strings, each after its length in four bytes, little-endian; at most one more than `most`."""
    values: list[bytes] = []
    start = 0
    while start < len(raw) and len(values) <= most:
        end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if end > len(raw):
            raise OptionError(
                f"{name}[{len(values)}] ends {end - len(raw)} bytes after the data; each value must follow its length "
                "in four bytes, little-endian."
            )
        values.append(bytes(raw[start + 4 : end]))
        start = end
    return values


def _pixels(given: InputTensor, limits: RequestLimits) -> list[np.ndarray]:
    _check_dtype(given, "UINT8")
    _length(given, given.shape, 4, limits)
    height, width, channels = given.shape[1:]
    if channels != 3 or min(height, width) < 1:
        hint = " Channels come last." if height == 3 else ""
        raise OptionError(
            f"Input {given.name!r} has shape {quoted(list(given.shape))}; (N, H, W, 3) was expected.{hint}"
        )
    if height * width > limits.max_pixels:
        raise OptionError(
            f"Photographs of {width} x {height} pixels are over the limit of {limits.max_pixels:,} pixels; make them "
            "smaller."
        )
    values = given.raw if given.raw is not None else _flat(given)
    _check_count(given, len(values), math.prod(given.shape))
    pixels = np.frombuffer(_bytes(given.name, values) if isinstance(values, list) else values, np.uint8)
    pictures = pixels.reshape(given.shape)
    return [as_rgb(picture, name=f"{given.name}[{place}]") for place, picture in enumerate(pictures)]


def _bytes(name: str, values: list[Any]) -> bytes:
    kinds = {type(value) for value in values} - {int}
    try:
        if not kinds:
            return bytes(values)
    except ValueError:
        pass
    raise OptionError(f"Input {name!r} holds other values than whole numbers from 0 to 255.")


def _flat(given: InputTensor) -> list[Any]:
    """The values of a tensor in one list; JSON may nest them as the shape is."""
    values = given.values
    if not any(isinstance(value, list) for value in values):
        return values
    level, even = [values], True
    for length in given.shape:
        even = even and all(isinstance(entry, list) and len(entry) == length for entry in level)
        level = [item for entry in level for item in entry] if even else []
    if not even or any(isinstance(entry, list) for entry in level):
        raise OptionError(
            f"The data of input {given.name!r} is not nested as its shape {quoted(list(given.shape))} is; nest it so, "
            "or give all values in one list."
        )
    return level


def _length(given: InputTensor, shape: Sequence[int], axes: int, limits: RequestLimits) -> int:
    if len(shape) != axes or not all(isinstance(length, int) and length >= 0 for length in shape):
        expected = "(N, H, W, 3)" if axes == 4 else "(N,)"
        raise OptionError(f"Input {given.name!r} has shape {quoted(list(given.shape))}; {expected} was expected.")
    _check_number(shape[0], limits)
    return shape[0]


def _check_count(given: InputTensor, found: int, expected: int) -> None:
    if found != expected:
        values = "more" if given.raw is not None and given.name == ENCODED and found > expected else found
        raise OptionError(
            f"Input {given.name!r} has shape {quoted(list(given.shape))}, so {expected} values were expected; {values} "
            "came."
        )


def _check_dtype(given: InputTensor, expected: str) -> None:
    if given.datatype != expected:
        raise OptionError(f"Input {given.name!r} is {quoted(given.datatype)}; {expected} was expected.")


def _check_number(images: int, limits: RequestLimits) -> None:
    if not 1 <= images <= limits.max_images:
        raise OptionError(f"There are {images} photographs; 1 to {limits.max_images} were expected in one request.")
