"""The same superpixels as `kmeans_model`'s in plain NumPy, float64, on the picture as it is: no tables, no padding.

Only where the cells lie is the package's.
"""

import numpy as np
from onnx_nodes import evaluate
from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter
from skimage.measure import label as components

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels import dense_label_map
from secam_onnx.superpixels.cells import Cells
from secam_onnx.superpixels.lab import LAB_OF_ROOTS, cube_roots

__all__ = ["cell_of", "package_lab", "plain_kmeans", "plainly_held_together"]

PULL = 1.0
FILLED = 4  # blocks that a stray piece is filled from each side
NOBODY = -1


def cell_of(cells: Cells) -> np.ndarray:
    """The cell of every block of the picture, `(rows, columns)`."""
    row, column = cells.of_block
    return row * cells.across.cells + column


def package_lab(colours: np.ndarray) -> np.ndarray:
    """`(..., 3)` uint8 to the package's L, a, b, but for a constant."""
    n = Nodes()
    return evaluate(n, cube_roots(n, "colours"), colours=colours).astype(float) @ LAB_OF_ROOTS.T


def plain_kmeans(
    lab: np.ndarray, segments: int | tuple[int, int] = 50, compactness: float = 15.0, rounds: int | None = 12
) -> np.ndarray:
    """Dense labels `(H, W)` of colours `(H, W, 3)`.

    A superpixel is followed from its centre for so many rounds, each a block down or up and a block to a side; None:
    all that is connected.
    """
    size = lab.shape[:2]
    cells = Cells.fitted(size, segments, 8)
    axes = (cells.down, cells.across)
    place = np.indices(size)
    scale = np.sqrt(axes[0].edge * axes[1].edge)
    pixels = np.dstack([lab / compactness, *(place / scale)])
    blocks = tuple(axis.cells * axis.blocks for axis in axes)
    index = tuple((at + axis.before) // axis.stride for at, axis in zip(place, axes, strict=True))
    flat = np.ravel_multi_index(index, blocks).ravel()
    area = np.bincount(flat, minlength=np.prod(blocks))
    sums = [np.bincount(flat, channel.ravel(), area.size) for channel in np.moveaxis(pixels, 2, 0)]
    means = (np.array(sums) / np.maximum(area, 1)).T.reshape(*blocks, -1)
    area = area.reshape(blocks)

    away = _cells_apart(cells)
    members = away == 0
    for _ in range(6):
        centres = np.array([_mean(means[own], area[own]) for own in members])
        distances = np.square(means - centres[:, None, None]).sum(axis=3)
        distances[away > 1] = np.inf
        members = distances == distances.min(axis=0)  # a block that is as near to two counts for both
    labels = np.where(area > 0, members.argmax(axis=0), NOBODY)
    held = plainly_held_together(labels, np.where(members, distances, np.inf), cells, area, rounds)
    allowed = away[:, index[0], index[1]] <= 1
    return dense_label_map(_nearest(held, pixels, centres, cells, allowed))


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.average(values, axis=0, weights=weights) if weights.sum() else np.full(values.shape[1], np.inf)


def _cells_apart(cells: Cells) -> np.ndarray:
    """Of each superpixel the distance from its cell to that of every block, `(K, rows, columns)`."""
    rows, columns = np.divmod(np.arange(cells.count)[:, None, None], cells.across.cells)
    row, column = (np.arange(axis.cells * axis.blocks) // axis.blocks for axis in (cells.down, cells.across))
    return np.maximum(abs(row[:, None] - rows), abs(column - columns))


def plainly_held_together(
    labels: np.ndarray, distances: np.ndarray, cells: Cells, area: np.ndarray, rounds: int | None = 12
) -> list[np.ndarray]:
    """The highest and the lowest labels that blocks can have, `(rows, columns)` each.

    `distances` are those to every superpixel, `area` is that of the picture in a block.
    """
    near = _cells_apart(cells) <= 1
    own = labels == np.arange(len(near))[:, None, None]
    pieces = components(labels, background=NOBODY, connectivity=1)
    held = np.zeros_like(own)
    for k in np.flatnonzero(own.any(axis=(1, 2))):
        whole = own[k] & (area == area[own[k]].max())  # blocks at the picture's edge come last
        held[k] = whole & (distances[k] <= distances[k][whole].min())
        if rounds is None:
            held[k] = own[k] & np.isin(pieces, pieces[held[k]])
        for _ in range(rounds or 0):
            for way in ([[1], [1], [1]], [[1, 1, 1]]):
                held[k] = binary_dilation(held[k], way, mask=own[k])
    both = []
    for best, nothing in ((maximum_filter, NOBODY), (minimum_filter, len(near))):
        holder = np.where(held.any(axis=0), held.argmax(axis=0), nothing)
        for _ in range(FILLED):
            holder = np.where(holder == nothing, best(holder, 3, mode="constant", cval=nothing), holder)
        somebody = np.where(holder == nothing, 0, holder)
        reached = np.take_along_axis(near, somebody[None], axis=0)[0] & (holder != nothing)
        both.append(np.where(reached, holder, labels))
    return both


def _nearest(
    labels: list[np.ndarray], pixels: np.ndarray, centres: np.ndarray, cells: Cells, allowed: np.ndarray
) -> np.ndarray:
    """Of the labels of the four blocks whose middles are around a pixel the nearest; with more of it, it is nearer."""
    axes = (cells.down, cells.across)
    lower, upper = [], []
    for axis in axes:
        place = (np.arange(axis.length) + axis.before + 0.5) / axis.stride - 0.5  # 0 is the middle of the first block
        lower.append(np.floor(place).astype(int))
        upper.append(place - lower[-1])
    framed = [np.pad(one, 1, mode="edge") for one in labels]
    shares = np.zeros((len(centres), *pixels.shape[:2]))
    for down in (0, 1):
        for across in (0, 1):
            high, low = (one[np.ix_(lower[0] + 1 + down, lower[1] + 1 + across)] for one in framed)
            weight = np.outer(*(part if far else 1 - part for part, far in zip(upper, (down, across), strict=True)))
            np.add.at(shares, (high, *np.indices(high.shape)), weight)
            np.add.at(shares, (low, *np.indices(low.shape)), np.where(high == low, 0, weight))
    least = np.prod([(1 if axis.stride % 2 else 0.5) / axis.stride for axis in axes])  # the smallest share there is
    distances = np.square(pixels - centres[:, None, None]).sum(axis=3) - PULL * (shares - least)
    return np.where((shares > 0) & allowed, distances, np.inf).argmin(axis=0)
