"""Rules and steps.

A `Rule` looks at one node of the head and returns a `Step`, or says why it cannot (`NoMatchError`). A `Step` knows the
algebra of its node: from the gradient of the logits with respect to its output, it writes the ONNX nodes that compute
the gradient with respect to each of its inputs, and adds its constant terms to the bias.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient

__all__ = ["NoMatchError", "Rule", "Step", "differs_in_batch"]


class NoMatchError(Exception):
    """A node is not what a rule looks for; the message is the reason, for the user."""


@dataclass(frozen=True)
class Step(ABC):
    """One understood node between the feature map and the logits.

    Attributes
    ----------
    node : NodeProto
        The node.
    inputs : tuple of str
        The tensors on the side of the features.
    output : str
        The tensor on the side of the logits.
    role : str
        Its part in the head, in the field's words (`fc`, `relu`, `gap`, `flatten`, ...); empty if not worth a word.
    reason : str
        How the rule understood it, for the user.
    """

    node: NodeProto
    inputs: tuple[str, ...]
    output: str
    role: str
    reason: str

    mixes: ClassVar[bool] = False
    """Whether the step has weights that mix channels."""
    attends: ClassVar[bool] = False
    """Whether the step carries values from some tokens to others by attention weights."""
    holds: ClassVar[bool] = False
    """Whether it is exact because a factor is held at its value for this picture."""

    @property
    def input(self) -> str:
        """The input, if there is only one."""
        (name,) = self.inputs
        return name

    @property
    def exact(self) -> bool:
        """Whether the node is piecewise linear, so that gradient times input, plus constants, is the output."""
        return True

    @property
    def rounds(self) -> bool:
        """Whether only the rounding of a quantised network keeps it from being exact."""
        return False

    @property
    def channel_axis(self) -> int | None:
        """The axis of the input that counts channels, if the node tells it (a pool over all others)."""
        return None

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the constant tensors that the step reads."""
        return ()

    @abstractmethod
    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        """Write the nodes that carry a gradient from `output` back to each of `inputs`, in that order."""


class Rule(ABC):
    """Recognises one kind of node."""

    ops: ClassVar[frozenset[str]]
    """The ONNX operators that the rule looks at."""
    own: ClassVar[frozenset[str]] = frozenset()
    """ONNX Runtime's own operators that it looks at, of the domain com.microsoft."""

    @abstractmethod
    def match(self, graph: Graph, node: NodeProto) -> Step:
        """Understand a node.

        Raises
        ------
        NoMatchError
            The node is not what the rule looks for; the message is the reason.
        """

    def match_output(self, graph: Graph, node: NodeProto, output: str) -> Step:
        """The same for one of the node's outputs, which must be the first unless the rule allows others."""
        if output != node.output[0]:
            raise NoMatchError(f"its output {output!r} is not its first")
        return self.match(graph, node)


def differs_in_batch(graph: Graph, constant: str, rank: int) -> bool:
    """Whether a constant that broadcasts to a tensor of `rank` axes has different numbers for each image."""
    shape = graph.shape(constant) or ()
    return not graph.one_image and len(shape) >= rank and shape[len(shape) - rank] != 1
