"""The contribution model: features and class ids in, maps and bias out; derived from the head once, as ONNX nodes.

With `J_c = dz_c/df`, by the chain rule backwards through the steps,

    M_c(x, y) = sum_k J_c[k, x, y] * f_k(x, y)        sum_xy M_c(x, y) + b_c + r_c = z_c

where `b_c` is the part of the constants of the head, and `r_c`, the completeness gap, is what linearising misses: zero
if the head is piecewise linear. If the head joins several branches, each has a feature map and gives such a map, and
these are added on a common grid. A fourth output bounds how far rounding may change the logits of a quantised head: of
two runs that differ in the last bit, one may round a number up and the other down.

Each step of the head writes its own part of the chain (`rules/`). This module multiplies gradient and features at the
end, and cuts out only the weights and forward nodes that the chain needs.

A head that is not understood is run again for each part of its feature map instead (`masking`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from secam_onnx.errors import OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.opset import IR_VERSION, OPSET
from secam_onnx.graph.weights import WeightCollector, share_safely
from secam_onnx.head.builder import Builder
from secam_onnx.head.centred import centred_map
from secam_onnx.head.cut import cut_out
from secam_onnx.head.found_head import Head
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.grid import Grid
from secam_onnx.head.masking import MASKED, PARTS, each_cell, evenly, maps_at_once, masked_cam
from secam_onnx.head.outputs.class_output import ClassOutput
from secam_onnx.head.picture_span import spread_matrix
from secam_onnx.head.tokens_read import only_tokens_read
from secam_onnx.reserved_prefix import RESERVED
from secam_onnx.runtime import SharedWeights

__all__ = [
    "BIAS",
    "CAM",
    "CLASS_IDS",
    "FEATURES",
    "GAP",
    "LOGIT_IDS",
    "PARTS",
    "ROUNDING",
    "ContributionModel",
    "contribution_model",
    "features_name",
    "own_layout",
]

_FIRST = f"{RESERVED}first_axis"
# With the reserved prefix: the tensors of the model keep their names, and one may be called "bias".
FEATURES = f"{RESERVED}features"
CLASS_IDS = f"{RESERVED}class_ids"
LOGIT_IDS = f"{RESERVED}logit_ids"
CAM = f"{RESERVED}cam"
BIAS = f"{RESERVED}bias"
GAP = f"{RESERVED}gap"
ROUNDING = f"{RESERVED}rounding"


@dataclass(frozen=True)
class ContributionModel:
    """A small ONNX model and the weights that it borrows.

    Attributes
    ----------
    model : ModelProto
        Its inputs are `secam_features` float32 `(N, C, h, w)`, or `(N, tokens, C)` if some tokens have no position, for
        further feature maps `secam_features_2` and so on, and `secam_class_ids` int64 `(N, K)`. Its outputs are
        `secam_cam` float32 `(N, K, h, w)`, `secam_bias` and `secam_gap` float32 `(N, K)`, whose sum is the logit, and
        `secam_rounding` float32 `(N, K)`, the most that a logit changes if each rounding of the head goes one step
        further. A model that masks has one more input, `secam_parts` (see `masking`); by default each cell is a part. A
        detached head has further inputs, `saved`.
    weights : SharedWeights
        The large initializers, which the model declares as external data (see `runtime.open_session`).
    at_once : (int, int) or None
        For a model that masks: how many images one run should take, at most, and with how many masks at once its head
        runs.
    saved : dict of str to str
        Further inputs, each with the tensor of the network that it takes: what is held, and what it is computed from.
        The names are equal if the tensor's first axis counts images; otherwise the input has such an axis in front.
    """

    model: ModelProto
    weights: SharedWeights
    at_once: tuple[int, int] | None = None
    saved: dict[str, str] = field(default_factory=dict)


def contribution_model(
    graph: Graph, head: Head, *, masking: bool = False, known: SharedWeights | None = None
) -> ContributionModel:
    """Derive the contribution model of a head.

    Parameters
    ----------
    graph : Graph
        The model in which the head was found.
    head : Head
        The head.
    masking : bool
        Whether to mask the feature map although the head is understood.
    known : SharedWeights, optional
        Weights that were read before.

    Raises
    ------
    ModelError
        A weight cannot be read.
    """
    detached = head.algebra == "detached" and not masking
    builder = Builder(graph.for_one_image() if detached else graph, head.n_logits)
    weights = WeightCollector(graph.folder, known)
    opset = max(OPSET, graph.opset)
    logit_ids, signs = _of_logits(builder, head.class_output)
    inputs, outputs = _inputs_and_outputs(head)
    at_once = None
    saved: dict[str, str] = {}
    if masking or not head.understood:
        nodes: list[NodeProto] = []
        (cam, bias, gap), at_once = _masked(builder, head, logit_ids, weights, opset)
        inputs.append(helper.make_tensor_value_info(PARTS, TensorProto.INT64, [None, *head.grid.shape[1:]]))
    else:
        cam, bias, gap = _derived(builder, head, logit_ids)
        saved = _saved(builder.graph, head, builder.needed) if detached else {}
        nodes = _forward(graph, head, builder.needed, saved, weights, opset)
    rounding = builder.total(builder.rounding, like=CLASS_IDS)
    if signs:
        bias, gap = (builder.op("Mul", [name, signs]) for name in (bias, gap))
        cam = builder.op("Mul", [cam, builder.op("Unsqueeze", [signs, builder.integers([2, 3])])])
    results = {CAM: cam, BIAS: bias, GAP: gap, ROUNDING: rounding}
    ends = [helper.make_node("Identity", [tensor], [name]) for name, tensor in results.items()]
    types = {name: graph.dtype(tensor) or TensorProto.FLOAT for name, tensor in saved.items()}
    inputs += [helper.make_tensor_value_info(name, elem_type, None) for name, elem_type in types.items()]
    body = helper.make_graph(
        [*nodes, *builder.nodes, *ends], "secam_contribution", inputs, outputs, [*weights.tensors, *builder.values]
    )
    opsets = [entry for entry in graph.model.opset_import if entry.domain not in ("", "ai.onnx")]
    opsets.append(helper.make_opsetid("", opset))
    ir_version = max(IR_VERSION, graph.model.ir_version)
    model = helper.make_model(body, opset_imports=opsets, ir_version=ir_version)
    share_safely(model, weights.values)
    return ContributionModel(model, weights.values, at_once, saved)


def _inputs_and_outputs(head: Head) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """The inputs and outputs that `ContributionModel` lists."""
    features = [grid.tokens if grid.special else grid.shape for grid in head.grids]
    inputs = [
        helper.make_tensor_value_info(features_name(index), TensorProto.FLOAT, ["N", *shape])
        for index, shape in enumerate(features)
    ]
    inputs.append(helper.make_tensor_value_info(CLASS_IDS, TensorProto.INT64, ["N", "K"]))
    outputs = [helper.make_tensor_value_info(CAM, TensorProto.FLOAT, ["N", "K", *head.map_size])]
    outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "K"]) for name in (BIAS, GAP, ROUNDING)]
    return inputs, outputs


def features_name(index: int) -> str:
    """The name of the first, second, ... feature map as an output of the network, such as `secam_features_2`."""
    return FEATURES if index == 0 else f"{FEATURES}_{index + 1}"


def own_layout(index: int) -> str:
    """The name of a feature map in the contribution model, in the layout of the network."""
    return f"{RESERVED}own_layout" if index == 0 else f"{RESERVED}own_layout_{index + 1}"


def _entry(graph: Graph, grid: Grid, source: str, own: str) -> list[NodeProto]:
    """Nodes from `(N, C, h, w)` float32 to a feature map in the layout and dtype of the model."""
    elem_type = graph.dtype(grid.tensor) or TensorProto.FLOAT
    if grid.special:
        turned = grid.batch_first(source, own)
        return [*turned, helper.make_node("Cast", [own if turned else source], [grid.tensor], to=elem_type)]
    cast = helper.make_node("Cast", [own], [grid.tensor], to=elem_type)
    return [*grid.from_nchw(source, own), cast]


def _of_logits(builder: Builder, class_output: ClassOutput) -> tuple[str, str]:
    """The indices of the logits of the classes asked for, and their signs, if any is negative."""
    if class_output.pick is None:
        return CLASS_IDS, ""
    indices, signs = zip(*class_output.pick, strict=True)
    builder.nodes.append(helper.make_node("Gather", [builder.integers(indices), CLASS_IDS], [LOGIT_IDS]))
    return LOGIT_IDS, builder.op("Gather", [builder.floats(signs), CLASS_IDS]) if min(signs) < 0 else ""


def _masked(
    builder: Builder, head: Head, logit_ids: str, weights: WeightCollector, opset: int
) -> tuple[tuple[str, str, str], tuple[int, int]]:
    """Map, bias and gap by masking, and `ContributionModel.at_once`.

    Raises
    ------
    OptionError
        The head takes several feature maps.
    """
    if len(head.grids) > 1:
        raise OptionError(
            f"Attribution 'masking' needs one feature map; this head takes {len(head.grids)}, one for each branch."
        )
    nodes = cut_out(builder.graph, [head.features], [head.logits], weights, opset)
    if "L" in head.grid.layout:
        nodes = only_tokens_read(builder.graph, nodes, head.grid.tokens[0])
    entry = _entry(builder.graph, head.grid, MASKED, own_layout(0))
    _, rows, columns = head.grid.shape
    most = masks = maps_at_once(builder.graph, head, nodes)
    if rows and columns:
        builder.values.append(numpy_helper.from_array(each_cell(rows, columns), PARTS))
        masks = evenly(rows * columns + 2, most)
    cam, bias, gap = masked_cam(builder, head, nodes, (FEATURES, logit_ids), entry, masks)
    return (_on_the_picture(builder, cam, head, head.grid), bias, gap), (max(1, most // masks), masks)


def _derived(builder: Builder, head: Head, class_ids: str) -> tuple[str, str, str]:
    """Map, bias and gap by the chain rule, backwards through the steps."""
    gradients = {head.logits: Gradient(class_ids, of=head.logits, form="selection")}
    missed: list[str] = []
    nearer = {grid.tensor: grid for grid in head.nearer}
    cuts: list[tuple[str, str]] = []
    for step in head.steps:
        gradient = gradients.pop(step.output)
        if step.output in nearer:
            cuts.append(_cut(builder, gradient, nearer[step.output], head))
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
    gap = builder.total(missed, like=CLASS_IDS)
    if head.algebra == "detached":
        cuts.append(_cut(builder, gradients[head.features], head.grid, head))
        cam, bias = (
            builder.scale(builder.total(parts, like=CLASS_IDS), 1 / len(cuts)) for parts in zip(*cuts, strict=True)
        )
        return cam, bias, gap
    parts = [
        _on_the_picture(builder, _join(builder, gradients[grid.tensor], grid, index), head, grid)
        for index, grid in enumerate(head.grids)
    ]
    return builder.total(parts, like=CLASS_IDS), builder.total(builder.bias, like=CLASS_IDS), gap


def _cut(builder: Builder, gradient: Gradient, grid: Grid, head: Head) -> tuple[str, str]:
    """Map and bias of a detached head that begins at one feature map."""
    cam, rest = centred_map(builder, gradient, grid)
    return _on_the_picture(builder, cam, head, grid), builder.total([*builder.bias, rest], like=CLASS_IDS)


def _saved(graph: Graph, head: Head, needed: Sequence[str]) -> dict[str, str]:
    """The tensors that a detached head takes from the network, rather than computing attention a second time."""
    own = {grid.tensor for grid in head.grids}
    tensors = [name for name in dict.fromkeys(needed) if name not in own and not graph.is_constant(name)]
    return {name if graph.leads(name) else f"{RESERVED}saved_{name}": name for name in tensors}


def _forward(
    graph: Graph,
    head: Head,
    tensors: Sequence[str],
    saved: Mapping[str, str],
    weights: WeightCollector,
    opset: int,
) -> list[NodeProto]:
    """The nodes of the head itself that compute some of its tensors from the feature maps and from what is saved."""
    entries = [_entry(graph, grid, features_name(i), own_layout(i)) for i, grid in enumerate(head.grids)]
    if any(name != tensor for name, tensor in saved.items()):
        first = helper.make_tensor("", TensorProto.INT64, [1], [0])
        entries.append([helper.make_node("Constant", [], [_FIRST], value=first)])
    entries += [
        [helper.make_node("Squeeze", [name, _FIRST], [tensor])] for name, tensor in saved.items() if name != tensor
    ]
    nodes = cut_out(graph, [*(grid.tensor for grid in head.grids), *saved.values()], tensors, weights, opset)
    return [*(node for entry in entries for node in entry), *nodes]


def _join(builder: Builder, gradient: Gradient, grid: Grid, index: int) -> str:
    """Gradient times features, summed over the channels: `(N, K, h, w)`."""
    b, features = builder, features_name(index)
    if gradient.form == "uniform" and gradient.channel_axis == grid.channel_axis:
        product = b.op("MatMul", [gradient.name, b.flat(features)])
    else:
        product = b.op("Mul", [b.dense(gradient), b.per_class(own_layout(index))])
        product = b.op("ReduceSum", [product, b.integers([grid.channel_axis + 1])], keepdims=0)
        if grid.order is not None:
            product = b.op("Gather", [product, b.integers(grid.order)], axis=2)
    shape = b.op("Concat", [b.integers([0, 0]), b.op("Shape", [features], start=2)], axis=0)
    return b.op("Reshape", [product, shape])


def _on_the_picture(builder: Builder, cam: str, head: Head, grid: Grid) -> str:
    """A map on the common grid over the whole picture; see `head.picture_span`."""
    if not head.needs_common_grid:
        return cam
    edges = zip(grid.shape[1:], grid.span.edges, head.map_size, strict=True)
    rows, columns = (spread_matrix(cells or 1, ends, target or 1) for cells, ends, target in edges)
    b = builder
    return b.op("MatMul", [b.op("MatMul", [b.floats(rows), cam]), b.floats(columns.T.copy())])
