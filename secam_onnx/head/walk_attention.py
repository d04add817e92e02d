"""Walks from the logits through attention, whose weights are held, to the tokens before the last third of it.

Tokens lose their place with depth, and those of the last layer say little: a class token has read them already, and a
mean of tokens is no better than chance. So the walk goes on through a third of the attention blocks, rounded up
(studies/attention). The logits are affine in the tokens there, as long as all that is held keeps its value.

A network that convolves what attention has made, such as MobileViT, or a CNN with one such block in the middle, is
explained at its last map like any other CNN.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import describe
from secam_onnx.head.attention_weights import count_attention
from secam_onnx.head.grid import Grid, NoGridError, grid_of
from secam_onnx.head.rules import HELD_RULES, Step
from secam_onnx.head.rules.conv import ConvStep
from secam_onnx.head.understand import understand
from secam_onnx.head.walk import Rejection, Walk, dead_end, passed_by, pictures_of, placed, shared_tensors
from secam_onnx.head_query import HeadQuery, blocks_by_rule

__all__ = ["walk_attention"]


def walk_attention(graph: Graph, logits: str, query: HeadQuery) -> Walk:
    """Walk through attention and understood nodes to a feature map that everything below passes through.

    Raises
    ------
    HeadError
        There is no attention, or the walk ends without a feature map; the message is the reason.
    """
    if graph.fixed_batch not in (None, 1):
        raise HeadError(
            f"the model takes {graph.fixed_batch} images at once; attention is walked for one. Export it "
            "for one image, or for any number"
        )
    of_one = graph.for_one_image()
    total = count_attention(of_one, logits)
    if not total:
        raise HeadError("there is no attention between the image and the logits")
    asked = query.blocks or blocks_by_rule(total)
    cuts = sorted({min(number, total) for number in ((asked,) if isinstance(asked, int) else asked)})
    on_the_way = cuts[:-1] if query.blocks else []
    features = query.feature_names
    pictures = pictures_of(of_one, features)
    steps: list[Step] = []
    rejected: list[Rejection] = []
    nearer: list[Grid] = []

    def inputs(node: NodeProto, output: str) -> Sequence[str]:
        step = understand(of_one, node, output, HELD_RULES, exact=True)
        if unknown := [name for name in (output, *step.inputs) if None in (of_one.shape(name) or (None,))]:
            raise HeadError(f"stopped at node {describe(node)}: the shape of {unknown[0]!r} is not known")
        steps.append(step)
        if isinstance(step, ConvStep) and step.joins_cells and not query.given and not any(s.attends for s in steps):
            raise HeadError(f"{describe(node)} convolves what attention has made: its map is explained")
        return step.inputs

    try:
        for tensor in shared_tensors(of_one, logits, inputs, features):
            passed = sum(step.attends for step in steps)
            if tensor in pictures:
                raise HeadError(dead_end(of_one, tensor, features, pictures))
            last = tensor in features if features else passed >= cuts[-1]
            if not last and (len(nearer) == len(on_the_way) or passed < on_the_way[len(nearer)]):
                continue
            try:
                grid = grid_of(of_one, tensor, query.token_grid, special=True)
            except NoGridError as reason:
                rejected.append(Rejection(tensor, str(reason)))
                continue
            if grid.pooled and not features:  # an attention pool whose query is the mean: further up, all have places
                rejected.append(Rejection(tensor, "a token that is a mean of the others"))
                continue
            if not passed:
                raise HeadError("no attention lies between the feature map and the logits")
            grid, warning = placed(pictures, grid)
            if not last:
                nearer.append(grid)
                continue
            if len({other.shape[1:] for other in (*nearer, grid)}) > 1:
                raise HeadError(f"the maps of blocks {asked} have several sizes; average those of one stage")
            return Walk([grid], steps, rejected, warning, (passed, total), nearer)
    except HeadError as error:
        raise HeadError(f"{error} {passed_by(rejected)}".strip()) from error
    raise AssertionError("a walk ends at a feature map or with an error")
