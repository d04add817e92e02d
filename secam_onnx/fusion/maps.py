"""Splice the contribution model into the graph of its network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from secam_onnx.classifier.attribution import quadrature
from secam_onnx.graph.nodes import Nodes
from secam_onnx.graph.splice import made_by, renamed, self_contained
from secam_onnx.head import (
    BIAS,
    CAM,
    CLASS_IDS,
    FEATURES,
    GAP,
    LOGIT_IDS,
    OWN_LAYOUT,
    ContributionModel,
    Head,
    features_name,
    own_layout,
)
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["Spliced", "spliced_maps"]

_INSIDE = f"{RESERVED}head_"
_FRACTION = f"{_INSIDE}fraction"
_IN_OWN_LAYOUT = f"{FEATURES}{OWN_LAYOUT}"
_TYPES = {
    **dict.fromkeys((CLASS_IDS, LOGIT_IDS, f"{_INSIDE}{LOGIT_IDS}"), TensorProto.INT64),
    **dict.fromkeys((FEATURES, _IN_OWN_LAYOUT), TensorProto.FLOAT),
}


@dataclass(frozen=True)
class Spliced:
    """The contribution model, ready for the graph of its network.

    Attributes
    ----------
    nodes : list of NodeProto
        The nodes, in execution order.
    initializers : list of TensorProto
        The initializers that the network lacks.
    cam, bias : str
        Names of `(N, K, h, w)` and `(N, K)`, float32.
    """

    nodes: list[NodeProto]
    initializers: list[TensorProto]
    cam: str
    bias: str


def spliced_maps(
    n: Nodes, network: ModelProto, head: Head, contribution: ContributionModel, attribution: str
) -> Spliced:
    """Prepare a contribution model for the graph of the network that it was derived from.

    Parameters
    ----------
    n : Nodes
        Takes further nodes, which follow those of the result.
    network : ModelProto
        The network, with the output `secam_features`.
    head : Head
        The head of the network.
    contribution : ContributionModel
        Derived from the head; another part of the graph computes `secam_class_ids`.
    attribution : {'gradient', 'integrated', 'masking'}
        See `choose_attribution`.
    """
    body = contribution.model.graph
    known = {tensor.name for tensor in network.graph.initializer}
    initializers = [_with_value(tensor, contribution) for tensor in body.initializer if tensor.name not in known]
    # If some tokens have no position, the features of the contribution model are all tokens.
    whole = {FEATURES: _IN_OWN_LAYOUT} if head.grid.special else {}
    if attribution in ("gradient", "detached"):
        # At the network's own features, the network has computed the tensors of the head already.
        made = set(made_by(network.graph.node))
        nodes = [node for node in body.node if not made.issuperset(node.output)]
        own = {
            own_layout(index): f"{features_name(index)}{OWN_LAYOUT}"
            for index, grid in enumerate(head.grids)
            if grid.layout != "NCHW"
        }
        again, names = _square_weights_again(n, network, nodes)
        nodes = renamed((node for node in nodes if own.keys().isdisjoint(node.output)), own | whole | names)
        return Spliced([*again, *nodes], initializers, CAM, BIAS)
    nodes = renamed(body.node, _names_inside(body.node) | whole)
    constants = known | {tensor.name for tensor in initializers}
    if attribution == "masking":
        nodes = [self_contained(node, constants, _TYPES) if node.op_type == "Scan" else node for node in nodes]
        return Spliced(nodes, initializers, CAM, BIAS)
    again, names = _square_weights_again(n, network, nodes)
    nodes = renamed(nodes, names)
    maps = [features_name(index) for index in range(len(head.grids))]
    types = _TYPES | dict.fromkeys(maps, TensorProto.FLOAT)
    types |= {names[value.name]: value.data_type for value in network.graph.initializer if value.name in names}
    scan = self_contained(_along_the_path(n, nodes, maps), constants, types)
    return Spliced([*again, scan], initializers, *_integral(n))


def _square_weights_again(
    n: Nodes, network: ModelProto, nodes: Iterable[NodeProto]
) -> tuple[list[NodeProto], dict[str, str]]:
    """Nodes that make square weights of the network once more, for those that read them here, and their new names.

    OpenVINO (2026.4) keeps weights packed for the kernel, and takes those of a product with W for one with W transposed
    if the shapes are equal. It folds these nodes into a weight of its own.
    """
    read = {name for node in nodes for name in node.input}
    square = [
        tensor.name
        for tensor in network.graph.initializer
        if tensor.name in read and len(tensor.dims) == 2 and tensor.dims[0] == tensor.dims[1] > 1
    ]
    again: list[NodeProto] = []
    names: dict[str, str] = {}
    for place, name in enumerate(square):
        axis, made = n.integers([0]), f"{RESERVED}square_{place}"
        again += [
            helper.make_node("Unsqueeze", [name, axis], [f"{made}_higher"]),
            helper.make_node("Transpose", [f"{made}_higher"], [f"{made}_turned"], perm=[0, 2, 1]),
            helper.make_node("Squeeze", [f"{made}_turned", axis], [f"{made}_flat"]),
            helper.make_node("Transpose", [f"{made}_flat"], [made], perm=[1, 0]),
        ]
        names[name] = made
    return again, names


def _names_inside(nodes: Iterable[NodeProto]) -> dict[str, str]:
    """New names for a second run of the head, on other features."""
    return {name: f"{_INSIDE}{name}" for name in made_by(nodes) if name not in (CAM, BIAS, GAP)}


def _along_the_path(n: Nodes, nodes: list[NodeProto], features: list[str]) -> NodeProto:
    """A loop over fractions of the features, the last of them 0, which gives maps, bias and gap at each."""
    inside = {name: f"{_INSIDE}{name}" for name in (CAM, BIAS, GAP, *features)}
    scaled = [helper.make_node("Mul", [name, _FRACTION], [inside[name]]) for name in features]
    body = helper.make_graph(
        [*scaled, *renamed(nodes, inside)],
        "head_at_a_fraction",
        [helper.make_tensor_value_info(_FRACTION, TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info(inside[name], TensorProto.FLOAT, None) for name in (CAM, BIAS, GAP)],
    )
    fractions = n.floats(np.append(quadrature()[0], 0))
    return helper.make_node("Scan", [fractions], [CAM, BIAS, GAP], body=body, num_scan_inputs=1)


def _integral(n: Nodes) -> tuple[str, str]:
    """The integral over the loop: maps and bias; see `Attribution`."""
    fractions, weights = quadrature()
    # The head gives J(a f) . a f; the integrand is J(a f) . f.
    share = n.floats(np.append(weights / fractions, 0)[None])
    steps = n.op("Reshape", [CAM, n.integers([len(fractions) + 1, -1])])
    maps = n.op("Reshape", [n.op("MatMul", [share, steps]), n.op("Shape", [CAM], start=1)])
    bias, gap = (n.op("Gather", [name, n.integers(len(fractions))], axis=0) for name in (BIAS, GAP))
    return maps, n.op("Add", [bias, gap])


def _with_value(tensor: TensorProto, contribution: ContributionModel) -> TensorProto:
    """The initializer with its values inside."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    value = contribution.weights.get(tensor.name)
    assert value is not None
    return numpy_helper.from_array(value, tensor.name)
