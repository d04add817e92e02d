"""The map of a detached head: gradient times what a cell has beyond the mean of all cells.

    M_t = J_t . (x_t - mean of x)        r = J . x - sum_t M_t

What all cells share belongs to no place, and neither do tokens without one, such as the class token. Both are in `r`,
which goes into the bias.
"""

from __future__ import annotations

from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.grid import Grid

__all__ = ["centred_map"]

_END = (1 << 63) - 1


def centred_map(builder: Builder, gradient: Gradient, grid: Grid) -> tuple[str, str]:
    """The map `(N, K, h, w)` of a feature map, and what of `J . x` it leaves, `(N, K)`."""
    b = builder
    slopes = _by_cells(b, b.dense(gradient), grid)
    cells = _by_cells(b, b.per_class(b.value(grid.tensor), grid.tensor), grid)
    beyond = b.op("Sub", [cells, b.op("ReduceMean", [cells, b.integers([3])], keepdims=1)])
    product = b.op("ReduceSum", [b.op("Mul", [slopes, beyond]), b.integers([2])], keepdims=0)
    rest = b.op("Sub", [b.dot(gradient), b.op("ReduceSum", [product, b.integers([2])], keepdims=0)])
    return b.op("Reshape", [product, b.integers([0, 0, *(edge or -1 for edge in grid.shape[1:])])]), rest


def _by_cells(b: Builder, tensor: str, grid: Grid) -> str:
    """A gradient of a feature map, or the map itself, as `(N, K, C, cells)`."""
    if grid.layout == "LNC":
        tensor = b.op("Squeeze", [tensor, b.integers([3])])
    if grid.layout in ("NHWC", "NLC", "LNC"):
        last = len(grid.layout)
        tensor = b.op("Transpose", [tensor], perm=[0, 1, last, *range(2, last)])
    if "L" not in grid.layout:
        tensor = b.op("Reshape", [tensor, b.integers([0, 0, 0, -1])])
    if grid.special:
        bounds = [b.integers([value]) for value in (grid.prefix, -grid.suffix or _END)]
        tensor = b.op("Slice", [tensor, *bounds, b.integers([3])])
    return tensor if grid.order is None else b.op("Gather", [tensor, b.integers(grid.order)], axis=3)
