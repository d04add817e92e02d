"""From sRGB `(1, K, pixels, 3)` uint8 to L, a, b over the compactness, but for a constant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto
from skimage.color.colorconv import xyz_from_rgb

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels import lab

__all__ = ["FORMS", "OURS"]

_BYTES = np.arange(256) / 255
_TABLE = np.where(_BYTES > 0.04045, ((_BYTES + 0.055) / 1.055) ** 2.4, _BYTES / 12.92)


def table(n: Nodes) -> str:
    return n.op("Gather", [n.floats(_TABLE), n.op("Cast", ["colours"], to=TensorProto.INT32)])


def power_curve(n: Nodes) -> str:
    value = n.op("Mul", [n.op("Cast", ["colours"], to=TensorProto.FLOAT), n.floats(1 / 255)])
    bright = n.op("Pow", [n.op("Mul", [n.op("Add", [value, n.floats(0.055)]), n.floats(1 / 1.055)]), n.floats(2.4)])
    dark = n.op("Mul", [value, n.floats(1 / 12.92)])
    return n.op("Where", [n.op("Greater", [value, n.floats(0.04045)]), bright, dark])


def power(n: Nodes, xyz: str) -> str:
    return n.op("Pow", [xyz, n.floats(1 / 3)])


def logarithm(n: Nodes, xyz: str) -> str:
    third = n.op("Mul", [n.op("Log", [n.op("Max", [xyz, n.floats(1e-6)])]), n.floats(1 / 3)])
    return n.op("Exp", [third])


def exact(linear: Callable[[Nodes], str], root: Callable[[Nodes, str], str]) -> Callable[[Nodes, float], str]:
    """CIELAB as it is defined."""

    def form(n: Nodes, compactness: float) -> str:
        white = xyz_from_rgb.sum(axis=1)
        xyz = n.op("MatMul", [linear(n), n.floats((xyz_from_rgb / white[:, None]).T)])
        line = n.op("Add", [n.op("Mul", [xyz, n.floats(7.787)]), n.floats(16 / 116)])
        roots = n.op("Where", [n.op("Greater", [xyz, n.floats(0.008856)]), root(n, xyz), line])
        return _lab(n, roots, compactness)

    return form


def polynomials(n: Nodes, compactness: float) -> str:
    return _lab(n, lab.cube_roots(n, "colours"), compactness)


def _lab(n: Nodes, roots: str, compactness: float) -> str:
    return n.op("MatMul", [roots, n.floats(lab.LAB_OF_ROOTS.T / compactness)])


OURS = "polynomials for both"
FORMS = {
    "Pow for the curve, Pow for the root": exact(power_curve, power),
    "a table by Gather, Pow": exact(table, power),
    "a table by Gather, Exp of Log": exact(table, logarithm),
    OURS: polynomials,
}
