"""Windows that slide over a map: where a convolution or an average pool looks, with all that ONNX leaves implied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from secam_onnx.graph.node_info import Shape, attribute

__all__ = ["Window"]


@dataclass(frozen=True)
class Window:
    """Geometry over two spatial axes; every field has one entry an axis.

    Attributes
    ----------
    kernel, strides, dilations : tuple of int
        As in ONNX.
    pads : tuple of (int, int)
        Before and after.
    uncovered : tuple of int
        Rows and columns at the end of the padded map that no window reaches.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    uncovered: tuple[int, ...]

    @property
    def padded(self) -> bool:
        """Whether it looks beyond the map."""
        return any(before or after for before, after in self.pads)

    @property
    def flat_pads(self) -> list[int]:
        """The pads as ONNX writes them: all before, then all after."""
        return [before for before, _ in self.pads] + [after for _, after in self.pads]

    @classmethod
    def of(cls, node: NodeProto, kernel: Sequence[int], shape: Shape) -> Window | None:
        """The window of a node whose input has a shape `(N, C, h, w)`; None if the size matters and is unknown."""
        strides = tuple(attribute(node, "strides", [1, 1]))
        dilations = tuple(attribute(node, "dilations", [1, 1]))
        if None in shape[2:] and set(strides) != {1}:
            return None
        flat = attribute(node, "pads", [0] * 4)
        mode = attribute(node, "auto_pad", b"NOTSET")
        pads, uncovered = [], []
        for axis, (size, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
            reach = dilation * (size - 1) + 1
            edge = shape[2 + axis] or 0  # unknown only where the stride is 1, which leaves nothing over
            own = (flat[axis], flat[axis + 2]) if mode == b"NOTSET" else (0, 0)
            if mode in (b"SAME_UPPER", b"SAME_LOWER"):
                total = max((-(-edge // stride) - 1) * stride + reach - edge, 0)
                less, more = total // 2, total - total // 2
                own = (less, more) if mode == b"SAME_UPPER" else (more, less)
            pads.append(own)
            uncovered.append((edge + sum(own) - reach) % stride)
        return cls(tuple(kernel), strides, dilations, tuple(pads), tuple(uncovered))
