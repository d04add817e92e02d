"""What a rule and a step are.

A `Rule` looks at one node of the head and answers with a `Step`, or says why it is none (`NoMatchError`). A `Step`
knows the algebra of its node: given the gradient of the logits with respect to its output, it writes the ONNX nodes
that make the gradient with respect to its input, and reports its constant terms to the bias.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from onnx import NodeProto

from secam_onnx.head.graph import Graph

if TYPE_CHECKING:
    from secam_onnx.head.contribution import Builder

__all__ = ["Gradient", "NoMatchError", "Rule", "Step"]


class NoMatchError(Exception):
    """A node is not what a rule looks for; the message is the reason, in words for the user."""


@dataclass(frozen=True)
class Gradient:
    """`dz_c / dt` for every class asked for and one tensor `t` of the head, as a tensor of the contribution model.

    Attributes
    ----------
    name : str
        Tensor name; for a selection, the class ids.
    of : str
        The tensor `t`, by its name in the model.
    form : {'selection', 'dense', 'uniform'}
        `selection`: `t` is the logits themselves, so the gradient is one-hot and not written out.
        `dense`: `(N, K, *t.shape[1:])`.
        `uniform`: `t` is `(N, C, h, w)` and the gradient is the same at all positions: `(N, K, C)`.
    """

    name: str
    of: str
    form: Literal["selection", "dense", "uniform"] = "dense"


@dataclass(frozen=True)
class Step(ABC):
    """One understood node between the feature map and the logits.

    Attributes
    ----------
    node : NodeProto
        The node.
    input : str
        The tensor that comes from the features' side.
    output : str
        The tensor that goes on to the logits.
    role : str
        What it is to the head, in the field's words (`fc`, `relu`, `gap`, `flatten`, ...); empty if nothing of note.
    reason : str
        Why it was understood, for people.
    """

    node: NodeProto
    input: str
    output: str
    role: str
    reason: str

    @abstractmethod
    def backward(self, builder: Builder, gradient: Gradient) -> Gradient:
        """Write the nodes that carry a gradient from `output` to `input`."""

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the constant tensors that the step uses."""
        return ()


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
