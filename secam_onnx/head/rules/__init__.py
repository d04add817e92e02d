"""The rules that understand the nodes of a head, one kind of node per file.

To add a kind of node, write a module here with a subclass of `Rule` and add it to `RULES`. `find` and `contribution`
know no operator by name.
"""

from secam_onnx.head.rules.activation import ActivationRule
from secam_onnx.head.rules.affine import AffineRule, BatchNormRule
from secam_onnx.head.rules.attention import AttentionRule
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.rules.channel_slice import GatherRule, SliceRule, SplitRule
from secam_onnx.head.rules.combine import CombineRule
from secam_onnx.head.rules.concat import ConcatRule
from secam_onnx.head.rules.conv import ConvRule
from secam_onnx.head.rules.dynamic_quantize import DynamicQuantizeRule
from secam_onnx.head.rules.einsum import EinsumRule
from secam_onnx.head.rules.expand import ExpandRule
from secam_onnx.head.rules.groupnorm import GroupNormRule
from secam_onnx.head.rules.held_activation import HeldActivationRule
from secam_onnx.head.rules.held_matmul import HeldMatMulRule
from secam_onnx.head.rules.held_norm import HeldNormRule
from secam_onnx.head.rules.held_product import HeldProductRule
from secam_onnx.head.rules.layernorm import LayerNormRule
from secam_onnx.head.rules.linear import LinearRule, LinearStep
from secam_onnx.head.rules.maxpool import GlobalMaxPoolRule, MaxPoolRule
from secam_onnx.head.rules.pad import PadRule
from secam_onnx.head.rules.passthrough import PassThroughRule, PassThroughStep
from secam_onnx.head.rules.pool import PoolRule, ReduceRule
from secam_onnx.head.rules.quantize import QuantizeRule
from secam_onnx.head.rules.reduce_norm import NormRule
from secam_onnx.head.rules.reshape import ReshapeRule, ReshapeStep
from secam_onnx.head.rules.skip_norm import SkipNormRule
from secam_onnx.head.rules.softmax import SoftmaxRule
from secam_onnx.head.rules.stack import StackRule
from secam_onnx.head.rules.strided import StridedRule
from secam_onnx.head.rules.transpose import TransposeRule
from secam_onnx.head.rules.whole_attention import PackedAttentionRule, WholeAttentionRule

__all__ = [
    "HELD_RULES",
    "RULES",
    "LinearStep",
    "NoMatchError",
    "PassThroughStep",
    "ReshapeStep",
    "Rule",
    "Step",
]

RULES: tuple[Rule, ...] = (
    LinearRule(),
    DynamicQuantizeRule(),
    ConvRule(),
    AffineRule(),
    BatchNormRule(),
    LayerNormRule(),
    GroupNormRule(),
    CombineRule(),
    ConcatRule(),
    ActivationRule(),
    SoftmaxRule(),
    StackRule(),
    ReduceRule(),
    NormRule(),
    PoolRule(),
    MaxPoolRule(),
    GlobalMaxPoolRule(),
    ReshapeRule(),
    TransposeRule(),
    StridedRule(),
    PadRule(),
    SplitRule(),
    SliceRule(),
    GatherRule(),
    ExpandRule(),
    QuantizeRule(),
    PassThroughRule(),
)

HELD_RULES: tuple[Rule, ...] = (
    AttentionRule(),
    WholeAttentionRule(),
    PackedAttentionRule(),
    HeldNormRule(),
    SkipNormRule(),
    HeldActivationRule(),
    DynamicQuantizeRule(),
    HeldProductRule(),
    HeldMatMulRule(),
    EinsumRule(),
    *RULES,
)
"""For heads behind attention: first those that hold a factor at its value for the picture at hand."""
