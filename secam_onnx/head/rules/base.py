"""What a rule and a step are.

A `Rule` looks at one node of the head and answers with a `Step`, or says why it is none (`NoMatchError`). A `Step`
knows the algebra of its node: given the gradient of the logits with respect to its output, it writes the ONNX nodes
that make the gradient with respect to each of its inputs, and reports its constant terms to the bias.
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
    """A node is not what a rule looks for; the message is the reason, in words for the user."""


@dataclass(frozen=True)
class Step(ABC):
    """One understood node between the feature map and the logits.

    Attributes
    ----------
    node : NodeProto
        The node.
    inputs : tuple of str
        The tensors that come from the features' side.
    output : str
        The tensor that goes on to the logits.
    role : str
        What it is to the head, in the field's words (`fc`, `relu`, `gap`, `flatten`, ...); empty if nothing of note.
    reason : str
        Why it was understood, for people.
    """

    node: NodeProto
    inputs: tuple[str, ...]
    output: str
    role: str
    reason: str

    mixes: ClassVar[bool] = False
    """Whether weights lead from channels to others: a head has such a layer."""

    @property
    def input(self) -> str:
        """The only one of the inputs."""
        (name,) = self.inputs
        return name

    @property
    def exact(self) -> bool:
        """Whether the node is piecewise linear, so that gradient times input, plus constants, is the output."""
        return True

    @property
    def rounds(self) -> bool:
        """Whether all that is missing to that is the rounding of a quantised network."""
        return False

    @property
    def channel_axis(self) -> int | None:
        """The axis of the input that counts channels, where the node tells (a pool over all others)."""
        return None

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the constant tensors that the step uses."""
        return ()

    @abstractmethod
    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        """Write the nodes that carry a gradient from `output` to each of `inputs`, in that order."""


class Rule(ABC):
    """Recognises one kind of node."""

    ops: ClassVar[frozenset[str]]
    """ONNX operators that the rule looks at."""

    @abstractmethod
    def match(self, graph: Graph, node: NodeProto) -> Step:
        """Understand a node.

        Raises
        ------
        NoMatchError
            With the reason.
        """

    def match_output(self, graph: Graph, node: NodeProto, output: str) -> Step:
        """The same for one of the node's outputs, which is the first unless a rule knows of others."""
        if output != node.output[0]:
            raise NoMatchError(f"its output {output!r} is not its first")
        return self.match(graph, node)


def differs_in_batch(graph: Graph, constant: str, rank: int) -> bool:
    """Whether a constant that broadcasts to a tensor of `rank` axes has other numbers for each image."""
    shape = graph.shape(constant) or ()
    return len(shape) >= rank and shape[len(shape) - rank] != 1
