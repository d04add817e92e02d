"""The steps of K-means as sub-graphs that compete: each in the forms that it could be written in, one of them ours.

What goes into a step comes from the package, so that every form works on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels import kmeans
from secam_onnx.superpixels.cells import NOWHERE, Cells
from studies.formulations.forms import assignment, colour, lookup, moving
from studies.formulations.session import evaluate

__all__ = ["COMPACTNESS", "Step", "steps"]

COMPACTNESS = 15.0
ROUNDS = 5
EVERY = 4  # pixels


@dataclass(frozen=True)
class Step:
    """One step of the model.

    Attributes
    ----------
    title : str
        What it does.
    feeds : dict
        What goes in, by name.
    forms : dict
        How it can be written: from a collector of nodes to the name of the result.
    ours : str
        The form that the package has.
    labels : callable
        From a form's result to the label of every pixel, cell by cell: `(K, pixels)`.
    """

    title: str
    feeds: dict[str, np.ndarray]
    forms: dict[str, Callable[[Nodes], str]]
    ours: str
    labels: Callable[[np.ndarray], np.ndarray] = field(repr=False)


def steps(picture: np.ndarray, cells: Cells) -> dict[str, Step]:
    """All of them, for one `(H, W, 3)` uint8 picture that the cells fit on."""
    image = {"image": picture[None]}
    colours = evaluate(lambda n: kmeans._in_cells(n, "image", cells), image)
    pixels = evaluate(lambda n: kmeans._features(n, "colours", cells, COMPACTNESS), {"colours": colours})
    centres = evaluate(lambda n: _rounds(n, kmeans._block_means(n, "pixels", cells), cells), {"pixels": pixels})
    assigned = {"pixels": pixels, "planes": np.ascontiguousarray(pixels.transpose(0, 1, 3, 2)), "centres": centres}
    index = evaluate(lambda n: assignment.nine_argmin(n, cells), assigned)

    def nearest(of_centres: np.ndarray, of_pixels: np.ndarray) -> np.ndarray:
        nine = of_centres[0][np.maximum(cells.neighbours, 0)]
        distances = np.matmul(of_pixels[0], nine.transpose(0, 2, 1))
        distances[np.broadcast_to((cells.neighbours == NOWHERE)[:, None], distances.shape)] = np.inf
        return np.take_along_axis(cells.neighbours, distances.argmin(axis=2), axis=1)

    def by_colour(values: np.ndarray) -> np.ndarray:
        grey = values - values.mean(axis=(0, 1, 2)) + pixels[..., :3].mean(axis=(0, 1, 2))  # constants do not matter
        return nearest(centres, np.concatenate([grey, pixels[..., 3:]], axis=3))

    def by_place(moved: np.ndarray) -> np.ndarray:
        own = moved if moved.shape[-1] == 3 else moved.transpose(0, 1, 3, 2)
        return (own[0].reshape(cells.count, -1) == colours[0].reshape(cells.count, -1)).astype(int)

    return {
        "assign": Step(
            "Assigning pixels, distances included: to the label of each of them",
            assigned,
            {name: _bound(form, cells) for name, form in assignment.FORMS.items()},
            assignment.OURS,
            lambda found: found.reshape(cells.count, -1),
        ),
        "colour": Step(
            "sRGB of 8 bits to CIELAB",
            {"colours": colours},
            {name: _bound(form, COMPACTNESS) for name, form in colour.FORMS.items()},
            colour.OURS,
            by_colour,
        ),
        "move": Step(
            "Moving pixels into cells",
            image,
            {name: _bound(form, cells) for name, form in moving.FORMS.items()},
            moving.OURS,
            by_place,
        ),
        "look up": Step(
            "From one of the nine to the label",
            {"index": index},
            {name: _bound(form, cells) for name, form in lookup.FORMS.items()},
            lookup.OURS,
            lambda found: found.reshape(cells.count, -1),
        ),
        "iterate": Step(
            f"{ROUNDS} rounds of K-means, from features to centres",
            {"pixels": pixels},
            {
                "every pixel": lambda n: _rounds(n, "pixels", cells),
                "every fourth pixel each way, by Slice": lambda n: _rounds(n, _sliced(n, "pixels", cells), cells),
                "means of blocks of 4 x 4": lambda n: _rounds(n, kmeans._block_means(n, "pixels", cells), cells),
            },
            "means of blocks of 4 x 4",
            lambda found: nearest(found, pixels),
        ),
    }


def _bound(form: Callable[..., str], *arguments: object) -> Callable[[Nodes], str]:
    return lambda n: form(n, *arguments)


def _rounds(n: Nodes, points: str, cells: Cells) -> str:
    """As the package's, on `(N, K, points, 6)`; to what gives distances as a product."""
    seen, middle = kmeans._from_the_middle(n, points)
    centres = kmeans._centres(n, n.op("ReduceSum", [points, n.integers([2])], keepdims=0))
    for _ in range(ROUNDS):
        members, _ = kmeans._assign(n, centres, seen, cells, middle)
        sums = n.op("MatMul", [n.op("Cast", [members], to=1), points])
        centres = kmeans._centres(n, kmeans._summed_up(n, sums, cells))
    return kmeans._factors(n, centres)


def _sliced(n: Nodes, pixels: str, cells: Cells) -> str:
    down, across = cells.down.edge, cells.across.edge
    square = n.op("Reshape", [pixels, n.integers([-1, cells.count, down, across, 6])])
    starts, ends, axes, every = [EVERY // 2] * 2, [down, across], [2, 3], [EVERY] * 2
    some = n.op("Slice", [square, *map(n.integers, (starts, ends, axes, every))])
    return n.op("Reshape", [some, n.integers([-1, cells.count, down * across // EVERY**2, 6])])
