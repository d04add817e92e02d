"""The version of ONNX's standard operators that a model is written in, and the conversion to a newer one."""

from __future__ import annotations

import onnx
from onnx import ModelProto, helper

from secam_onnx.errors import ModelError

__all__ = ["IR_VERSION", "OLDEST_IR_VERSION", "OPSET", "at_opset", "opset_of"]

OPSET = 18
"""What this package writes: the first with ScatterElements(add), Shape(start), CastLike and axes as inputs."""

OLDEST_IR_VERSION = 8
"""The lowest for that opset, so that older runtimes read the files that are written."""

IR_VERSION = 10
"""Of parts cut from a model; the default of an installed onnx may be newer than ONNX Runtime reads."""

_RESIZES_FROM_CENTRES = 11


def opset_of(model: ModelProto) -> int:
    """Version of the standard operator set that a model imports."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def at_opset(model: ModelProto, opset: int, part: str = "model") -> ModelProto:
    """Convert a model to a newer opset.

    Parameters
    ----------
    model : ModelProto
        The model; it stays as it is.
    opset : int
        The lowest version that will do.
    part : str
        What messages call it, where it is part of a model.

    Returns
    -------
    ModelProto
        The same model where it has that opset or a newer one; else a converted copy with the same metadata.

    Raises
    ------
    ModelError
        ONNX cannot convert it.
    """
    own = opset_of(model)
    if own >= opset:
        return model
    try:
        newer = onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # whatever ONNX's converter raises
        raise ModelError(
            f"The {part} cannot be converted from opset {own} to {opset} ({error}). Export the model with opset "
            f"{opset} or newer."
        ) from error
    # Some versions of onnx keep the metadata, others do not. If a key occurs twice, its last value counts.
    helper.set_model_props(newer, {entry.key: entry.value for entry in model.metadata_props})
    if own < _RESIZES_FROM_CENTRES:
        _resize_from_corners(newer)
    return newer


def _resize_from_corners(model: ModelProto) -> None:
    """Have Resize do what it and Upsample did in older opsets, in place; ONNX's converter leaves that out."""
    for node in model.graph.node:
        if node.op_type == "Resize" and not node.domain:
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
