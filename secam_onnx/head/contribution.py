"""The contribution model: features and class ids in, maps and bias out; derived from the head once, as ONNX nodes.

With `J_c = dz_c/df` (chain rule, backwards through the steps),

    M_c(x, y) = sum_k J_c[k, x, y] * f_k(x, y)        sum_xy M_c(x, y) + b_c + r_c = z_c

where `b_c` collects what the constants of the head add and `r_c`, the completeness gap, what linearising misses: zero
where the head is piecewise linear. A fourth output bounds what the logits of a quantised head owe to rounding: two ways
to run it, which differ in their last bit, may round a number that lies between two steps up or down.

Each step of the head writes its own part of the chain (`rules/`); this module joins gradient and features at the end,
and cuts out only those weights and forward nodes that the chain needs.

A head that is not understood is run again for every cell instead (`masking`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto, helper

from secam_onnx.head.builder import Builder
from secam_onnx.head.cut import cut_out
from secam_onnx.head.find import Head
from secam_onnx.head.graph import Graph
from secam_onnx.head.masking import masked_maps
from secam_onnx.head.rules import Gradient
from secam_onnx.names import RESERVED
from secam_onnx.runtime import Weights
from secam_onnx.weights import SharedWeights, share_safely

__all__ = ["BIAS", "CLASS_IDS", "FEATURES", "GAP", "MAPS", "ROUNDING", "ContributionModel", "contribution_model"]

# All names of our own have the reserved prefix: the model's tensors, which keep theirs, may be called "bias" as well.
FEATURES = f"{RESERVED}features"
CLASS_IDS = f"{RESERVED}class_ids"
MAPS = f"{RESERVED}maps"
BIAS = f"{RESERVED}bias"
GAP = f"{RESERVED}gap"
ROUNDING = f"{RESERVED}rounding"

_OPSET = 18  # the first with ScatterElements(add), Shape(start), CastLike and axes as inputs everywhere
_IR_VERSION = 10


@dataclass(frozen=True)
class ContributionModel:
    """A small ONNX model and the weights that it borrows.

    Attributes
    ----------
    model : ModelProto
        Inputs `secam_features` float32 `(N, C, h, w)` (`(N, tokens, C)` where some tokens have no position) and
        `secam_class_ids` int64 `(N, K)`; outputs `secam_maps` float32 `(N, K, h, w)`, `secam_bias` and `secam_gap`
        float32 `(N, K)`: their sum is the logit; and `secam_rounding` `(N, K)`, by how much a logit changes at most if
        every rounding of the head goes one step further.
    weights : Weights
        The large initializers, which the model declares as external data (see `runtime.open_session`).
    """

    model: ModelProto
    weights: Weights


def contribution_model(
    graph: Graph,
    head: Head,
    folder: str | os.PathLike[str] = "",
    *,
    masking: bool = False,
    known: Weights | None = None,
) -> ContributionModel:
    """Derive the contribution model of a head.

    Parameters
    ----------
    graph : Graph
        The model in which the head was found.
    head : Head
        The head.
    folder : path
        Where the model's external data lies.
    masking : bool
        Mask the feature map cell by cell although the head is understood.
    known : Weights, optional
        Weights that were read before.

    Raises
    ------
    ModelError
        A weight cannot be read.
    """
    builder = Builder(graph, head)
    weights = SharedWeights(folder, known)
    opset = max(_OPSET, graph.opset)
    if masking or not head.understood:
        cut = cut_out(graph, head.features, [head.logits], weights, opset)
        maps, bias, gap = masked_maps(builder, cut, FEATURES, CLASS_IDS, _entry(graph, head, "secam_masked"))
        nodes: list[NodeProto] = []
    else:
        maps, bias, gap = _derived_maps(builder)
        cut = cut_out(graph, head.features, builder.needed, weights, opset)
        nodes = [*_entry(graph, head, FEATURES), *cut]
    rounding = builder.total(builder.rounding, like=CLASS_IDS)
    ends = [
        helper.make_node("Identity", [name], [to])
        for name, to in ((maps, MAPS), (bias, BIAS), (gap, GAP), (rounding, ROUNDING))
    ]

    own = (graph.shape(head.features) or ())[1:]
    inputs = [
        helper.make_tensor_value_info(
            FEATURES, TensorProto.FLOAT, ["N", *(own if head.grid.prefix else head.grid.shape)]
        ),
        helper.make_tensor_value_info(CLASS_IDS, TensorProto.INT64, ["N", "K"]),
    ]
    outputs = [
        helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, ["N", "K", *head.grid.shape[1:]]),
        helper.make_tensor_value_info(BIAS, TensorProto.FLOAT, ["N", "K"]),
        helper.make_tensor_value_info(GAP, TensorProto.FLOAT, ["N", "K"]),
        helper.make_tensor_value_info(ROUNDING, TensorProto.FLOAT, ["N", "K"]),
    ]
    body = helper.make_graph(
        [*nodes, *builder.nodes, *ends], "secam_contribution", inputs, outputs, [*weights.tensors, *builder.values]
    )
    opsets = [entry for entry in graph.model.opset_import if entry.domain not in ("", "ai.onnx")]
    opsets.append(helper.make_opsetid("", opset))
    ir_version = max(_IR_VERSION, graph.model.ir_version)
    model = helper.make_model(body, opset_imports=opsets, ir_version=ir_version)
    share_safely(model, weights.values)
    return ContributionModel(model, weights.values)


def _entry(graph: Graph, head: Head, source: str) -> list[NodeProto]:
    """From `(N, C, h, w)` float32 to the feature map as the model has it."""
    elem_type = graph.dtype(head.features) or TensorProto.FLOAT
    if head.grid.prefix:
        return [helper.make_node("Cast", [source], [head.features], to=elem_type)]
    cast = helper.make_node("Cast", [f"{RESERVED}own_layout"], [head.features], to=elem_type)
    return [*head.grid.from_nchw(source, f"{RESERVED}own_layout"), cast]


def _derived_maps(builder: Builder) -> tuple[str, str, str]:
    """Maps, bias and gap by the chain rule, backwards through the steps."""
    head = builder.head
    gradients = {head.logits: Gradient(CLASS_IDS, of=head.logits, form="selection")}
    missed: list[str] = []
    for step in head.steps:
        gradient = gradients.pop(step.output)
        before = len(builder.bias)
        results = step.backward(builder, gradient)
        if not step.exact:
            rest = builder.remainder(gradient, results)
            for term in builder.bias[before:]:
                rest = builder.op("Sub", [rest, term])
            missed.append(rest)
        for result in results:
            other = gradients.get(result.of)
            gradients[result.of] = result if other is None else builder.sum(result, other)
    (gradient,) = gradients.values()
    maps = _join(builder, gradient)
    return maps, builder.total(builder.bias, like=CLASS_IDS), builder.total(missed, like=CLASS_IDS)


def _join(builder: Builder, gradient: Gradient) -> str:
    """Gradient times features, summed over the channels: `(N, K, h, w)`."""
    b, grid = builder, builder.head.grid
    if gradient.form == "uniform" and gradient.channel_axis == grid.channel_axis:
        product = b.op("MatMul", [gradient.name, b.flat(FEATURES)])
    else:
        product = b.op("Mul", [b.dense(gradient), b.per_class(f"{RESERVED}own_layout")])
        product = b.op("ReduceSum", [product, b.integers([grid.channel_axis + 1])], keepdims=0)
    shape = b.op("Concat", [b.integers([0, 0]), b.op("Shape", [FEATURES], start=2)], axis=0)
    return b.op("Reshape", [product, shape])
