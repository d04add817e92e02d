"""Store weights as float16: half the file size, and the network still computes in float32."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from secam_onnx.errors import OptionError
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["halve_weights"]

_LARGE = 64  # numbers; fewer are not worth a node
_EPSILON = 2.0**-10  # of float16, except for its smallest numbers, which are coarser


def halve_weights(model: ModelProto, but: Collection[str] = ()) -> None:
    """Store large float32 initializers as float16, each with a Cast, in place.

    Runtimes fold the Casts when they open the model, so it runs as before. Weights that float16 cannot hold
    (above 65504, or all of them tiny) and those named in `but` stay as they are.

    Raises
    ------
    OptionError
        The model's weights are external data.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) < _LARGE or tensor.name in but:
            continue
        if tensor.data_location == TensorProto.EXTERNAL:
            raise OptionError("float16 needs a model below 2 GB, with its weights in the file itself.")
        value = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.abs(half - value).max() <= _EPSILON * np.abs(value).max() < np.inf:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{RESERVED}float16_{name}"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
