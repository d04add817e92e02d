"""Whether a session says what the file says: its outputs beside those of the file as it lies on the disk.

The file is opened as anybody would open it: by its path, with ONNX Runtime's own options, on the CPU. All of its own
outputs are compared, on a photograph and on noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from secam_onnx import runtime
from secam_onnx.classifier.metadata import LOGITS
from secam_onnx.errors import FidelityError, ModelError, OptionError
from secam_onnx.names import RESERVED
from secam_onnx.photograph.images import read_image
from secam_onnx.photograph.sample import sample_photograph

if TYPE_CHECKING:
    import onnxruntime
    from onnx import ModelProto

    from secam_onnx.photograph.model_input import ImageInput
    from secam_onnx.photograph.preprocessing import Preprocessing

__all__ = [
    "NOT_COMPARED",
    "ON_A_CARD",
    "REPORT",
    "Feeds",
    "Fidelity",
    "Outputs",
    "ReferenceOutputs",
    "Verify",
    "check_verify",
    "compare_outputs",
    "is_compared",
    "outputs_of",
    "rounding_tolerance",
    "run_reference",
    "trial_images",
]

Verify = bool | Literal["auto"]
"""Whether a model is compared with its file when it is opened; `"auto"`: on one photograph, unless it is very large."""

Feeds = Mapping[str, Mapping[str, np.ndarray]]
"""For each image, by its name, the values of a session's inputs by theirs."""

Outputs = Mapping[str, Mapping[str, Any]]
"""The same of its outputs."""

LARGEST = 1 << 30
"""Bytes of weights above which `"auto"` compares nothing: it would take that much memory again, and seconds."""

NOT_COMPARED = "the weights are more than 1 GiB: outputs were not compared with those of the file itself"
"""What `"auto"` says of such a model."""

_RANDOM_IMAGES = 2
# Two graphs that were optimised in other ways round in other places. Over the networks of the tests float32 differs by
# 5e-7 of the largest number of an output at most, half precision by 5e-4, 8 bits not at all; one step of 8 bits is
# 4e-3. What lies above that many times over is no rounding.
_FLOAT, _HALF, _QUANTISED = 1e-3, 0.01, 0.05
ON_A_CARD = 0.05
"""On other processors than the CPU matrices may be multiplied in TF32, which has the digits of half precision."""

REPORT = (
    "That is a fault of secam-onnx or of ONNX Runtime; please report this model. To explain it nevertheless: "
    "verify=False (--no-verify)."
)
"""What to do about a difference."""

_HALF_TYPES = {10, 16}  # of TensorProto: float16, bfloat16


class Fidelity(TypedDict):
    """How a session compares with the untouched file."""

    max_relative_difference: float
    outputs: list[str]
    images: list[str]
    tolerance: float


def check_verify(verify: Verify) -> Verify:
    """The same, if it is one of its values.

    Raises
    ------
    OptionError
        It is none.
    """
    if verify not in (True, False, "auto"):
        raise OptionError(f"verify is {verify!r}; True, False or 'auto' was expected.")
    return verify


def is_compared(verify: Verify, model: ModelProto, *, ordinary: bool = True) -> bool:
    """Whether a model is compared with its file; one that is not `ordinary` was compared at export.

    Raises
    ------
    OptionError
        See `check_verify`.
    """
    if check_verify(verify) != "auto":
        return bool(verify)
    if not ordinary:
        return False
    from onnx import helper

    sizes = (
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
    )
    return sum(sizes) <= LARGEST


def trial_images(preprocessing: Preprocessing, *, photograph_only: bool = False) -> dict[str, np.ndarray]:
    """Images to try a model with, `(h, w, C)` uint8, by name: a photograph, and noise of the model's size."""
    photograph, name = _photograph(), "photograph (skimage chelsea)"
    shape = (*preprocessing.size, preprocessing.picture_channels)
    if shape[2] != 3:
        photograph, name = photograph[..., np.arange(shape[2]) % 3], f"{name}, its colours repeated"
    if photograph_only:
        return {name: photograph}
    random = np.random.default_rng(0)
    noise = {f"random {index}": random.integers(0, 256, shape, dtype=np.uint8) for index in range(_RANDOM_IMAGES)}
    return {**noise, name: photograph}


@functools.cache
def _photograph() -> np.ndarray:
    photograph = read_image(sample_photograph())
    photograph.flags.writeable = False
    return photograph


def rounding_tolerance(model: ModelProto) -> float:
    """The largest difference of an output, relative to its largest number, that rounding explains."""
    if any("Quantize" in node.op_type or node.op_type.startswith(("QLinear", "QGemm")) for node in model.graph.node):
        return _QUANTISED
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    stored = {node.input[0] for node in casts}  # with 16 bits, and computed with in 32
    types = {tensor.data_type for tensor in model.graph.initializer if tensor.name not in stored}
    types |= {value.type.tensor_type.elem_type for value in model.graph.input}
    types |= {entry.i for node in casts for entry in node.attribute if entry.name == "to"}
    return _HALF if types & _HALF_TYPES else _FLOAT


@dataclass(frozen=True)
class ReferenceOutputs:
    """What a file itself gives for some images.

    Attributes
    ----------
    feeds : dict
        For each image, by its name, what was fed.
    outputs : dict
        For each image the model's own outputs, by their names.
    tolerance : float
        See `rounding_tolerance`.
    """

    feeds: Feeds
    outputs: Outputs
    tolerance: float


def run_reference(
    session: onnxruntime.InferenceSession,
    input_: ImageInput,
    preprocessing: Preprocessing,
    images: Mapping[str, np.ndarray],
    tolerance: float,
) -> ReferenceOutputs:
    """Run the session of a file (see `runtime.open_as_it_is`) on images.

    Raises
    ------
    ModelError
        It fails.
    """
    dtype = runtime.input_dtype(session)
    feeds = {}
    for name, image in images.items():
        batch = preprocessing.normalise(preprocessing.crop(image)[0])
        feeds[name] = {input_.name: input_.fed(np.repeat(batch, input_.batch or 1, axis=0).astype(dtype))}
    names = [output.name for output in session.get_outputs()]
    own = [name for name in names if name == LOGITS or not name.startswith(RESERVED)]
    return ReferenceOutputs(feeds, outputs_of(session, feeds, own), tolerance)


def outputs_of(session: onnxruntime.InferenceSession, feeds: Feeds, names: Sequence[str]) -> Outputs:
    """Run a session on some inputs.

    Raises
    ------
    ModelError
        It fails.
    """
    try:
        return {
            image: dict(zip(names, runtime.run(session, names, feed), strict=True)) for image, feed in feeds.items()
        }
    except Exception as error:
        shapes = ", ".join(str(value.shape) for feed in feeds.values() for value in feed.values())
        raise ModelError(
            f"The model fails on inputs of shape {shapes}: {error}. Does the preprocessing fit it?"
        ) from error


def compare_outputs(said: Outputs, found: Outputs, tolerance: float, *, advice: str = REPORT) -> Fidelity:
    """Compare what a session gives with what the file gives.

    Numbers may differ by rounding. Where a model has no other outputs, whole numbers and words must be the same; beside
    others they say which of two nearly equal numbers is the larger, which rounding decides.

    Parameters
    ----------
    said, found : Outputs
        Of the untouched file, and of the session.
    tolerance : float
        See `rounding_tolerance`.
    advice : str
        What to do where they differ.

    Raises
    ------
    FidelityError
        They differ; it names the output and both numbers.
    """
    worst = 0.0
    outputs: dict[str, None] = {}
    for image, values in said.items():
        pairs = {name: (_flat(value), _flat(found[image][name])) for name, value in values.items()}
        measured = {name: pair for name, pair in pairs.items() if _is_measured(pair[0])}
        for name, (wanted, ours) in (measured or pairs).items():
            outputs[name] = None
            difference, place = _difference(wanted, ours)
            worst = max(worst, difference)
            if not difference <= tolerance:
                at = "" if place is None else f" at {place}"
                here, there = (ours.shape, wanted.shape) if place is None else (ours[place], wanted[place])
                raise FidelityError(
                    f"The model's output {name!r} is {_text(here)}{at} for {image}, but the file itself, in plain ONNX "
                    f"Runtime, gives {_text(there)}: a difference of {difference:.1e}, relative to the largest number; "
                    f"at most {tolerance:g} was expected. {advice}"
                )
    return {
        "max_relative_difference": worst,
        "outputs": list(outputs),
        "images": list(said),
        "tolerance": tolerance,
    }


def _difference(wanted: np.ndarray, found: np.ndarray) -> tuple[float, tuple[int, ...] | None]:
    """The largest, and where; no place where the shapes differ already."""
    if wanted.shape != found.shape:
        return math.inf, None
    if not wanted.size:
        return 0.0, None
    if wanted.dtype.kind not in "fiub" or found.dtype.kind not in "fiub" or not _is_measured(wanted):
        gaps = np.where(wanted == found, 0.0, math.inf)
    else:
        wanted, found = wanted.astype(np.float64), found.astype(np.float64)
        scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-30)
        with np.errstate(invalid="ignore"):
            alike = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
            gaps = np.where(alike, 0.0, np.nan_to_num(np.abs(found - wanted) / scale, nan=math.inf))
    place = np.unravel_index(int(gaps.argmax()), gaps.shape)
    return float(gaps[place]), tuple(map(int, place))


def _is_measured(values: np.ndarray) -> bool:
    """Whether numbers can be a little off; indices and words cannot, quantised outputs can."""
    return values.dtype.kind == "f" or (values.dtype.itemsize == 1 and values.dtype.kind in "iu")


def _flat(value: Any) -> np.ndarray:
    """An output as one array; of maps, as ZipMap makes them, the values in order of the keys."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, dict):
        return np.array([value[key] for key in sorted(value)])
    if isinstance(value, list):
        parts = [_flat(part) for part in value]
        if len({part.shape for part in parts}) <= 1:
            return np.array(parts)
        return np.concatenate([part.reshape(-1) for part in parts])
    return np.array(value)


def _text(value: Any) -> str:
    return f"{float(value):.6g}" if isinstance(value, np.floating) else str(value)
