"""Find the logits, the feature map and the head between them, by walking back from the model's output.

Every node on the way must be understood by one of the rules; whatever is not chosen is kept with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onnx import NodeProto

from secam_onnx.errors import HeadError, OptionError
from secam_onnx.head.graph import Graph, Shape, attribute
from secam_onnx.head.rules import RULES, NoMatchError, Step

__all__ = ["RESERVED", "Head", "Rejection", "describe", "find_head"]

RESERVED = "secam_"
"""Prefix of the outputs that an explainable model adds."""

_ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
_SILENT = {"Identity", "Cast"}


@dataclass(frozen=True)
class Rejection:
    """A tensor that was looked at and not chosen."""

    tensor: str
    reason: str


@dataclass(frozen=True)
class Head:
    """Everything between the feature map and the logits.

    Attributes
    ----------
    features : str
        The feature map, a tensor `(N, C, h, w)`.
    logits : str
        The scores before any softmax, a tensor `(N, classes)`.
    n_classes : int
        Number of classes.
    output : str
        The model output from which the walk began.
    activation : {'none', 'softmax', 'log_softmax', 'sigmoid'}
        What the model itself applies after the logits.
    steps : tuple of Step
        The understood nodes, from the logits back to the feature map.
    rejected : tuple of Rejection
        What was not chosen, with reasons.
    """

    features: str
    logits: str
    n_classes: int
    output: str
    activation: str
    steps: tuple[Step, ...]
    rejected: tuple[Rejection, ...]

    @property
    def kind(self) -> str:
        """The head in the field's words, from the features on: `gap + fc`, `flatten + fc + relu + fc`."""
        return " + ".join(step.role for step in reversed(self.steps) if step.role) or "none"

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the weight tensors, from the features on."""
        return tuple(name for step in reversed(self.steps) for name in step.weights)


def describe(node: NodeProto) -> str:
    """How messages call a node: operator and name, or its output where it has no name."""
    return f"{node.op_type} {node.name or node.output[0]!r}"


def find_head(graph: Graph, *, output: str | None = None, features: str | None = None) -> Head:
    """Find the head of a classifier.

    Parameters
    ----------
    graph : Graph
        The model.
    output : str, optional
        The model output to explain; needed only where several lead to a head.
    features : str, optional
        A feature map further up than the default, by tensor name.

    Returns
    -------
    Head
        The head that was found.

    Raises
    ------
    HeadError
        No output leads to a feature map through nodes that are understood; the message lists each with its reason.
    OptionError
        `output` or `features` is not in the model, or several outputs would do and none was named.
    """
    own = [name for name in graph.outputs if not name.startswith(RESERVED)]
    if output is not None and output not in own:
        raise OptionError(f"The model has no output {output!r}; its outputs are {', '.join(own) or 'none'}.")
    known = {value.name for value in graph.inputs}
    if features is not None and features not in known and graph.producer(features) is None:
        raise OptionError(
            f"The model has no tensor {features!r}; `secam-onnx inspect` lists those on the way from the logits."
        )
    found, rejected = [], []
    for name in [output] if output is not None else own:
        try:
            found.append(_walk(graph, name, features))
        except HeadError as error:
            rejected.append(Rejection(name, str(error)))
    if not found:
        raise HeadError(_nothing_found(rejected))
    logits = {head.logits for head in found}
    if len(logits) > 1:
        names = ", ".join(repr(head.output) for head in found)
        raise OptionError(f"Several outputs are logits: {names}. Choose the one to explain by its name (--logits).")
    head = found[0]
    return Head(**{**vars(head), "rejected": (*head.rejected, *rejected)})


def _walk(graph: Graph, output: str, features: str | None) -> Head:
    logits, activation = _strip_activation(graph, output)
    shape = graph.shape(logits)
    if shape is None or len(shape) != 2:
        raise HeadError(f"its shape is {_text(shape)}; logits have shape (N, classes)")
    if not shape[1]:
        raise HeadError(f"its shape is {_text(shape)}; the number of classes must be known and positive")
    steps: list[Step] = []
    rejected: list[Rejection] = []
    tensor, visited = logits, set()
    inputs = {value.name for value in graph.inputs}
    while True:
        here = graph.shape(tensor)
        if tensor not in inputs and (tensor == features or (features is None and _is_spatial(here))):
            break
        why = "not the feature map that was asked for" if _is_spatial(here) else "no spatial grid"
        rejected.append(Rejection(tensor, f"shape {_text(here)}: {why}"))
        node = graph.producer(tensor)
        if node is None or tensor in visited:
            raise HeadError(_dead_end(tensor, tensor in inputs, features))
        visited.add(tensor)
        step = _understand(graph, node, features)
        steps.append(step)
        tensor = step.input
    if not _is_spatial(graph.shape(tensor)):
        raise HeadError(f"the tensor {tensor!r} has shape {_text(graph.shape(tensor))}; (N, C, h, w) was expected")
    return Head(
        features=tensor,
        logits=logits,
        n_classes=shape[1],
        output=output,
        activation=activation,
        steps=tuple(steps),
        rejected=tuple(rejected),
    )


def _strip_activation(graph: Graph, output: str) -> tuple[str, str]:
    tensor, activation = output, "none"
    while (node := graph.producer(tensor)) is not None:
        if node.op_type in _ACTIVATIONS and activation == "none":
            axis = attribute(node, "axis", -1 if graph.opset >= 13 else 1)
            if node.op_type != "Sigmoid" and axis not in (1, -1):
                raise HeadError(f"{describe(node)} runs over axis {axis}, not over the classes")
            activation = _ACTIVATIONS[node.op_type]
        elif node.op_type not in _SILENT or activation != "none":
            break
        tensor = node.input[0]
    return tensor, activation


def _understand(graph: Graph, node: NodeProto, features: str | None) -> Step:
    rules = [rule for rule in RULES if node.op_type in rule.ops]
    reasons = []
    if not node.input:
        raise HeadError(f"stopped at node {describe(node)}: it has no input")
    for rule in rules:
        try:
            return rule.match(graph, node)
        except NoMatchError as reason:
            reasons.append(str(reason))
    known = ", ".join(sorted(set().union(*(rule.ops for rule in RULES))))
    why = " and ".join(reasons) or f"this operator is not understood in a head (understood: {known})"
    wanted = f" on the way to {features!r}" if features else ""
    raise HeadError(f"stopped at node {describe(node)}{wanted}: {why}")


def _is_spatial(shape: Shape | None) -> bool:
    return shape is not None and len(shape) == 4 and shape[2:] != (1, 1)


def _dead_end(tensor: str, is_input: bool, features: str | None) -> str:
    if features is not None and features != tensor:
        return f"no tensor {features!r} lies on the way back from the logits"
    where = f"the model's input {tensor!r}" if is_input else f"the tensor {tensor!r}"
    return f"the way back ends at {where} without a spatial feature map (N, C, h, w)"


def _nothing_found(rejected: Iterable[Rejection]) -> str:
    lines = [f"output {entry.tensor!r}: {entry.reason}" for entry in rejected] or ["the model has no outputs"]
    return (
        "No head was found that can be explained: "
        + "; ".join(lines)
        + ". A classifier was expected that ends in global average pool or flatten, then fully connected layers."
    )


def _text(shape: Shape | None) -> str:
    if shape is None:
        return "unknown"
    return f"({', '.join('?' if length is None else str(length) for length in shape)})"
