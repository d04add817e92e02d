"""Fidelity: compare the outputs of our session with those of the original file.

The file is opened as anyone would open it: by its path, with ONNX Runtime's default options, on the CPU. All outputs
are compared, on a photograph and on noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from secam_onnx import runtime
from secam_onnx.classifier.metadata import LOGITS, Fidelity
from secam_onnx.errors import REPORT_MODEL, FidelityError, ModelError, OptionError
from secam_onnx.memory import out_of_memory
from secam_onnx.photograph.images import read_image
from secam_onnx.photograph.sample import sample_photograph
from secam_onnx.reserved_prefix import RESERVED

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
"""Whether opening a model compares it with its file; `"auto"`: on one photograph, unless the model is very large."""

Feeds = Mapping[str, Mapping[str, np.ndarray]]
"""Input values by image name and input name."""

Outputs = Mapping[str, Mapping[str, Any]]
"""Output values by image name and output name."""

LARGEST = 1 << 30
"""Bytes of weights above which `"auto"` compares nothing: a second session would double the memory and take seconds."""

NOT_COMPARED = "the weights are more than 1 GiB: outputs were not compared with those of the file itself"
"""The note that `"auto"` leaves for such a model."""

_RANDOM_IMAGES = 2
# Graphs that were optimised differently round in different places. Over the networks of the tests float32 differs by at
# most 5e-7 of an output's largest number, half precision by 5e-4, 8 bits not at all; one step of 8 bits is 4e-3. The
# tolerances are many times that: a larger difference is not rounding.
_FLOAT, _HALF, _QUANTISED = 1e-3, 0.01, 0.05
ON_A_CARD = 0.05
"""The tolerance on a GPU, where matrices may be multiplied in TF32, which is as coarse as half precision."""

REPORT = (
    f"This is a bug in secam-onnx or in ONNX Runtime. {REPORT_MODEL} To explain it anyway: verify=False (--no-verify)."
)
"""Advice at the end of an error about a difference."""

_HALF_TYPES = {10, 16}  # of TensorProto: float16, bfloat16


def check_verify(verify: Verify) -> Verify:
    """Return the value of a `verify` parameter if it is valid.

    Raises
    ------
    OptionError
        It is not True, False or `"auto"`.
    """
    if verify not in (True, False, "auto"):
        raise OptionError(f"verify is {verify!r}; True, False or 'auto' was expected.")
    return verify


def is_compared(verify: Verify, model: ModelProto, *, ordinary: bool = True) -> bool:
    """Whether to compare a model with its file; one that is not `ordinary` was compared when it was exported.

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
    """Images for trial runs, by name, `(h, w, C)` uint8: a photograph, and noise of the model's input size."""
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
    """The largest difference that rounding explains, relative to the largest number of an output."""
    if any("Quantize" in node.op_type or node.op_type.startswith(("QLinear", "QGemm")) for node in model.graph.node):
        return _QUANTISED
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    stored = {node.input[0] for node in casts}  # as 16 bits, but used as 32
    types = {tensor.data_type for tensor in model.graph.initializer if tensor.name not in stored}
    types |= {value.type.tensor_type.elem_type for value in model.graph.input}
    types |= {entry.i for node in casts for entry in node.attribute if entry.name == "to"}
    return _HALF if types & _HALF_TYPES else _FLOAT


@dataclass(frozen=True)
class ReferenceOutputs:
    """The outputs of a model's original file for some images.

    Attributes
    ----------
    feeds : dict
        The inputs.
    outputs : dict
        The model's own outputs.
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
    """Run the session of an original file (see `runtime.open_as_it_is`) on images.

    Raises
    ------
    ModelError
        The run fails.
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
    """Run a session on the inputs of several images.

    Raises
    ------
    ModelError
        The run fails.
    """
    try:
        return {
            image: dict(zip(names, runtime.run(session, names, feed), strict=True)) for image, feed in feeds.items()
        }
    except Exception as error:
        shapes = ", ".join(str(value.shape) for feed in feeds.values() for value in feed.values())
        raise out_of_memory(error) or ModelError(
            f"The model fails on inputs of shape {shapes}: {error}. Compare the preprocessing with the input "
            "that secam-onnx inspect shows, and set it with --preprocess."
        ) from error


def compare_outputs(expected: Outputs, found: Outputs, tolerance: float, *, advice: str = REPORT) -> Fidelity:
    """Compare the outputs of a session with those of the original file.

    Numbers may differ by rounding. Outputs of integers or text must be equal if the model has no others; beside others
    they only tell which of two numbers is larger, and rounding may decide that.

    Parameters
    ----------
    expected, found : Outputs
        Those of the original file, and those of the session.
    tolerance : float
        See `rounding_tolerance`.
    advice : str
        Ends the message if they differ.

    Raises
    ------
    FidelityError
        They differ; the message names the output and both numbers.
    """
    worst = 0.0
    outputs: dict[str, None] = {}
    for image, values in expected.items():
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
        "images": list(expected),
        "tolerance": tolerance,
    }


def _difference(wanted: np.ndarray, found: np.ndarray) -> tuple[float, tuple[int, ...] | None]:
    """The largest difference and its place; infinity and None if the shapes differ."""
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
    """Whether an output may differ by rounding: floats and quantised numbers may, indices and text may not."""
    return values.dtype.kind == "f" or (values.dtype.itemsize == 1 and values.dtype.kind in "iu")


def _flat(value: Any) -> np.ndarray:
    """An output as one array; for the maps of ZipMap, the values in the order of their keys."""
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
