"""The picture inside the graph: the tensors before the first weights, and the part of the picture that each shows.

A picture that was cast, scaled, cropped, mirrored or resized is still a picture and no feature map. If it was cropped
or mirrored on its way into a network, the feature map of that network lies on that part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.graph.onnxruntime_operators import as_standard
from secam_onnx.head.channel_axis import channel_axis
from secam_onnx.head.picture_span import Span
from secam_onnx.head.picture_view import (
    ALIKE,
    DisplacedError,
    TurnedError,
    UnknownPlaceError,
    View,
    view_behind,
    view_of_input,
)

__all__ = ["Pictures"]

_STANDARD = ("", "ai.onnx")
_MIXES = {
    "Attention", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "If", "LSTM", "Loop",
    "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN", "Scan",
}  # fmt: skip


class Pictures:
    """The tensors of a graph that are still the picture.

    Parameters
    ----------
    graph : Graph
        The model.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._names = {value.name for value in graph.inputs}
        for node in graph.model.graph.node:
            read = self._data(node)
            if read and self._names.issuperset(read) and not _mixes(node):
                self._names.update(name for name in node.output if name)
        self._views: dict[str, View | UnknownPlaceError] = {}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def __contains__(self, tensor: object) -> bool:
        return tensor in self._names

    def span(self, tensor: str) -> Span:
        """The part of the picture that the network before a feature map reads.

        Raises
        ------
        DisplacedError
            The network reads several parts, or one that the graph moved in a way that is not understood.
        UnknownPlaceError
            The part is not known.
        """
        views, reasons = self._begins(tensor)
        if reasons:
            raise min(reasons, key=lambda reason: not isinstance(reason, DisplacedError))
        if not views:
            raise UnknownPlaceError(f"{tensor!r} does not depend on the picture")
        if any(view.axes[0] > view.axes[1] for view in views):
            raise TurnedError(f"{tensor!r} is made from the picture mirrored at its diagonal")
        if not all(view.span.like(views[0].span, ALIKE) for view in views):
            raise DisplacedError(f"{tensor!r} is made from several parts of the picture")
        if self._turns(tensor) == {True}:
            raise DisplacedError(f"on every path to {tensor!r} from the picture, a Transpose swaps rows and columns")
        return views[0].span

    def _turns(self, tensor: str) -> set[bool]:
        """Whether the paths from the picture exchange rows and columns: the answers of all paths."""
        found: set[bool] = set()
        todo, met = [(tensor, False)], {(tensor, False)}
        while todo and len(found) < 2:
            name, turned = todo.pop()
            node = self._graph.producer(name)
            if name in self._names or node is None:
                found.add(turned)
                continue
            steps = [(other, turned ^ self._exchanges(node)) for other in self._data(node)]
            todo += [step for step in steps if step not in met]
            met.update(steps)
        return found

    def _exchanges(self, node: NodeProto) -> bool:
        """Whether a node is a Transpose of the rows and columns of a map that has more than one of each."""
        if node.op_type != "Transpose" or len(shape := self._graph.shape(node.input[0]) or ()) != 4:
            return False
        channels, order = channel_axis(self._graph, node.input[0]), list(attribute(node, "perm", range(4)[::-1]))
        if channels not in (1, 3) or order[0] != 0:
            return False
        rows, columns = (axis for axis in (1, 2, 3) if axis != channels)
        return 1 not in (shape[rows], shape[columns]) and order.index(rows) > order.index(columns)

    def sizes(self, tensor: str) -> set[tuple[int, int]]:
        """Rows and columns, in pixels, of the pictures that the network before a tensor reads, as far as known."""
        ends = self._back_to(tensor, lambda name: name in self._names and self._size(name) is not None)
        return {size for name in ends if (size := self._size(name)) is not None}

    def _size(self, tensor: str) -> tuple[int, int] | None:
        try:
            axes = self._view(tensor).axes
        except UnknownPlaceError:
            return None
        shape = self._graph.shape(tensor) or ()
        rows, columns = (shape[axis] if axis < len(shape) else None for axis in axes)
        if rows and columns:
            return rows, columns
        return self._graph.image_size if self._graph.producer(tensor) is None else None

    def _begins(self, tensor: str) -> tuple[list[View], list[UnknownPlaceError]]:
        """The views of the pictures that the network before a tensor reads, and reasons for those that have none."""
        views: list[View] = []
        reasons: list[UnknownPlaceError] = []
        for name in self._back_to(tensor, self._names.__contains__):
            try:
                views.append(self._view(name))
            except UnknownPlaceError as reason:
                reasons.append(reason)
        return views, reasons

    def _back_to(self, tensor: str, ends: Callable[[str], bool]) -> Iterator[str]:
        """The first tensors that `ends` accepts, on all paths from a tensor back."""
        todo, met = [tensor], {tensor}
        while todo:
            name = todo.pop()
            if ends(name):
                yield name
                continue
            node = self._graph.producer(name)
            read = [] if node is None else [other for other in self._data(node) if other not in met]
            met.update(read)
            todo += read

    def _data(self, node: NodeProto) -> list[str]:
        """The inputs of a node that depend on the values of the picture."""
        graph = self._graph
        return [
            name for name in node.input if name and not graph.is_constant(name) and not graph.is_from_shapes(name)
        ]  # nodes whose bodies read more mix anyway

    def _view(self, tensor: str) -> View:
        if tensor not in self._views:
            try:
                self._views[tensor] = self._made(tensor)
            except UnknownPlaceError as reason:
                self._views[tensor] = reason
        view = self._views[tensor]
        if isinstance(view, UnknownPlaceError):
            raise view
        return view

    def _made(self, tensor: str) -> View:
        node = self._graph.producer(tensor)
        if node is None:
            return view_of_input(self._graph, tensor)
        node = as_standard(node)
        views = [self._view(name) for name in self._data(node) if not self._is_one_number(name)]
        return view_behind(self._graph, node, tensor, views, self._readers.get(tensor, []))

    def _is_one_number(self, tensor: str) -> bool:
        """Whether a tensor has no positions, such as a mean over the picture."""
        shape = self._graph.shape(tensor)
        return shape is not None and len([length for length in shape[1:] if length != 1]) <= 1


def _mixes(node: NodeProto) -> bool:
    node = as_standard(node)
    return node.op_type in _MIXES or node.op_type in ("Shape", "Size") or node.domain not in _STANDARD
