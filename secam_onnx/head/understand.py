"""Understanding a node of the head: the step that the first matching rule makes of it."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import describe
from secam_onnx.graph.onnxruntime_operators import DOMAIN
from secam_onnx.head.rules import RULES, NoMatchError, Rule, Step

__all__ = ["understand"]


def understand(
    graph: Graph, node: NodeProto, output: str, rules: Sequence[Rule] = RULES, *, exact: bool = False
) -> Step:
    """The step that the first matching rule makes of a node.

    With `exact`, only steps that are exact up to rounding count.

    Raises
    ------
    HeadError
        No rule matches; the message has the reason of each that was tried.
    """
    own = node.domain == DOMAIN
    matching = [rule for rule in rules if node.op_type in (rule.own if own else rule.ops)]
    if node.domain not in ("", "ai.onnx") and not (own and matching):
        raise HeadError(f"stopped at node {describe(node)}: operators of {node.domain!r} are not understood")
    if not node.input:
        raise HeadError(f"stopped at node {describe(node)}: it has no input")
    reasons = []
    for rule in matching:
        try:
            step = rule.match_output(graph, node, output)
        except NoMatchError as reason:
            reasons.append(str(reason))
            continue
        if exact and not step.exact and not step.rounds:
            reasons.append("it is smooth, and no factor of it can be held")
        elif any(graph.is_constant(name) for name in step.inputs):
            reasons.append("its data are constant and its parameters are computed")
        else:
            return step
    why = " and ".join(reasons) or "this operator is not understood in a head"
    raise HeadError(f"stopped at node {describe(node)}: {why}")
