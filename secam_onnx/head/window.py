"""Windows that slide over a map, of a convolution or a pool, with the defaults of ONNX filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from secam_onnx.graph.node_info import Shape, attribute

__all__ = ["Window"]


@dataclass(frozen=True)
class Window:
    """The geometry of a window over two spatial axes; each field has one entry per axis.

    Attributes
    ----------
    kernel, strides, dilations : tuple of int
        As in ONNX.
    pads : tuple of (int, int)
        Padding before and after.
    uncovered : tuple of int
        The numbers of rows and columns at the end of the padded map that no window reaches.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    uncovered: tuple[int, ...]

    @property
    def padded(self) -> bool:
        """Whether it reaches beyond the map."""
        return any(before or after for before, after in self.pads)

    @property
    def flat_pads(self) -> list[int]:
        """The pads in the order of ONNX: all before, then all after."""
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
            edge = shape[2 + axis] or 0  # unknown only if the stride is 1, which leaves nothing over
            own = (flat[axis], flat[axis + 2]) if mode == b"NOTSET" else (0, 0)
            if mode in (b"SAME_UPPER", b"SAME_LOWER"):
                total = max((-(-edge // stride) - 1) * stride + reach - edge, 0)
                less, more = total // 2, total - total // 2
                own = (less, more) if mode == b"SAME_UPPER" else (more, less)
            pads.append(own)
            uncovered.append((edge + sum(own) - reach) % stride)
        return cls(tuple(kernel), strides, dilations, tuple(pads), tuple(uncovered))
