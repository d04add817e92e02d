"""Sorting nodes into running order: some converters append nodes at the end, which ONNX Runtime accepts."""

from __future__ import annotations

from collections import defaultdict
from heapq import heapify, heappop, heappush

from onnx import GraphProto

from secam_onnx.graph.node_info import reads

__all__ = ["put_in_order"]


def put_in_order(graph: GraphProto) -> None:
    """Sort the nodes of a graph in place, so that each comes after those whose outputs it reads.

    A graph that is in order stays as it is, and so does a graph with a cycle.
    """
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    waits_for = [{maker[name] for name in reads(node) if name in maker} for node in graph.node]
    if all(max(earlier, default=-1) < index for index, earlier in enumerate(waits_for)):
        return
    followers = defaultdict(list)
    for index, earlier in enumerate(waits_for):
        for other in earlier:
            followers[other].append(index)
    missing = [len(earlier) for earlier in waits_for]
    ready = [index for index, count in enumerate(missing) if not count]
    heapify(ready)  # of the nodes that can run, the first one goes next, so that little moves
    order = []
    while ready:
        index = heappop(ready)
        order.append(index)
        for follower in followers[index]:
            missing[follower] -= 1
            if not missing[follower]:
                heappush(ready, follower)
    if len(order) == len(graph.node):
        nodes = list(graph.node)
        del graph.node[:]
        graph.node.extend(nodes[index] for index in order)
