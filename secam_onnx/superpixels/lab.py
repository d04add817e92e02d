"""CIELAB as ONNX nodes, with polynomials in place of powers, which would take longer than all of K-means.

Colours are within 0.7 of the exact ones (CIE 1976 distance), 0.3 on average over all of sRGB, which is as much as one
step of 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from secam_onnx.graph.nodes import Nodes

__all__ = ["BLACK", "LAB_OF_ROOTS", "cube_roots"]

# From sRGB (IEC 61966-2-1) to XYZ; the white point is D65.
_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.95047, 1.0, 1.08883])
_LINEAR_BELOW, _SLOPE = 0.008856, 7.787  # near black, CIELAB replaces the root by a line

# Fitted for the smallest maximal error in lightness: the sRGB curve on [0, 1] by powers of the value, the cube root on
# [0.008856, 1.1] by powers of the fourth root.
_CURVE = (1.9351989e-4, 5.1350831e-2, 0.41126580, 0.82366152, -0.29100410)
_ROOT = (-0.0292348242, 0.6209276104, 0.5167489944, -0.1084716028)

LAB_OF_ROOTS = np.array([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
"""From `cube_roots` to L, a and b up to a constant: `(3, 3)`, lightness in 0..100."""

_DARK = sum(factor * _LINEAR_BELOW ** (power / 4) for power, factor in enumerate(_ROOT) if power)
BLACK = LAB_OF_ROOTS @ (_DARK + _SLOPE * _CURVE[0] * _XYZ.sum(axis=1) / _WHITE)
"""L, a and b of black up to that constant: `(3,)`."""


def cube_roots(nodes: Nodes, colours: str) -> str:
    """Write the three nonlinear numbers that CIELAB is a linear function of.

    Parameters
    ----------
    nodes : Nodes
        Where the nodes go.
    colours : str
        `(..., 3)` uint8, sRGB.

    Returns
    -------
    str
        `(..., 3)` float32: the roots of X, Y and Z relative to white, up to a constant.
    """
    n = nodes
    values = n.op("Cast", [colours], to=TensorProto.FLOAT)
    linear = _polynomial(n, values, [factor / 255**power for power, factor in enumerate(_CURVE)])
    xyz = n.op("MatMul", [linear, n.floats((_XYZ / _WHITE[:, None]).T)])
    bright = n.op("Max", [xyz, n.floats(_LINEAR_BELOW)])
    fourth_root = n.op("Sqrt", [n.op("Sqrt", [bright])])
    root = _polynomial(n, fourth_root, [0.0, *_ROOT[1:]])
    line = n.op("Mul", [n.op("Min", [xyz, n.floats(_LINEAR_BELOW)]), n.floats(_SLOPE)])
    return n.op("Add", [root, line])


def _polynomial(nodes: Nodes, x: str, factors: Sequence[float]) -> str:
    """Evaluate a polynomial by Horner's rule; factors are in ascending order."""
    *rest, highest = factors
    result = nodes.op("Mul", [x, nodes.floats(highest)])
    for factor in rest[:0:-1]:
        result = nodes.op("Mul", [nodes.op("Add", [result, nodes.floats(factor)]), x])
    return nodes.op("Add", [result, nodes.floats(rest[0])]) if rest[0] else result
