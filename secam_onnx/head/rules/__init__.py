"""The rules by which a head is understood, one kind of node a file.

To add a kind of node, write a module here with a `Rule` subclass and name it in `RULES`. `find` and `contribution` know
no operator by name.
"""

from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step
from secam_onnx.head.rules.bias import BiasRule
from secam_onnx.head.rules.linear import LinearRule
from secam_onnx.head.rules.maxpool import MaxPoolRule
from secam_onnx.head.rules.passthrough import PassThroughRule
from secam_onnx.head.rules.pool import PoolRule
from secam_onnx.head.rules.relu import ReluRule
from secam_onnx.head.rules.reshape import ReshapeRule

__all__ = ["RULES", "Gradient", "NoMatchError", "Rule", "Step"]

RULES: tuple[Rule, ...] = (
    LinearRule(),
    BiasRule(),
    ReluRule(),
    PoolRule(),
    MaxPoolRule(),
    ReshapeRule(),
    PassThroughRule(),
)
