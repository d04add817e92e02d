"""An output of a model, read backwards: which tensor is its logits, and what the model makes of them.

The search passes nodes that name only the highest classes (TopK, ArgMax, ZipMap), then nodes that leave probabilities
as they are (a copy, a reshape, a clip, another order of the classes), and ends at the softmax or sigmoid, which may be
one node or several.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.head.outputs.known_activation import Pick, count_classes, find_activation, without_copies
from secam_onnx.head.outputs.output_kind import output_kind
from secam_onnx.head.outputs.output_nodes import COPIES, RESHAPES, constant_number
from secam_onnx.head.outputs.ranking import CLASS_BY_CLASS, before_ranking, check_not_sorted

__all__ = ["BINARY", "ClassOutput", "Pick", "activation_elsewhere", "read_class_output"]

BINARY: Pick = ((0, -1), (0, 1))
"""The negative and the positive class of a single logit."""


@dataclass(frozen=True)
class ClassOutput:
    """An output of the model, or another tensor of classes, and its logits.

    Attributes
    ----------
    logits : str
        The tensor `(N, n_logits)` that is explained, perhaps with more axes of length 1: that before the softmax or
        sigmoid, or the output itself if it has neither.
    n_logits : int
        The number of logits.
    activation : {'none', 'softmax', 'log_softmax', 'sigmoid'}
        What the model applies to the logits.
    pick : Pick or None
        The logit of each class; None if class `i` has logit `i`.
    probabilities : str or None
        The tensor of the model with the probabilities or their logarithms; None if the graph has none.
    kind : {'raw', 'activated', 'unknown'}
        Of an output without a known activation: unbounded scores; the result of some softmax or sigmoid in a way that
        is not understood; or neither is known.
    labels : tuple of str or None
        Class names in the graph.
    ranking : tuple of str
        Nodes behind the classes that name only the highest of them.
    paired : bool
        Whether the model gives one number, which is explained as two classes.
    rounded : bool
        Whether the probabilities are quantised.
    """

    logits: str
    n_logits: int
    activation: str = "none"
    pick: Pick | None = None
    probabilities: str | None = None
    kind: str = "raw"
    labels: tuple[str, ...] | None = None
    ranking: tuple[str, ...] = ()
    paired: bool = False
    rounded: bool = False

    @property
    def n_classes(self) -> int:
        """Number of classes of the output."""
        return self.n_logits if self.pick is None else len(self.pick)

    def as_pair(self) -> ClassOutput:
        """The same with a single logit as two classes, negative and positive."""
        return replace(self, pick=BINARY, paired=True)


def read_class_output(graph: Graph, output: str) -> ClassOutput:
    """Find the logits of an output.

    Parameters
    ----------
    graph : Graph
        The model.
    output : str
        An output, or any tensor.

    Raises
    ------
    HeadError
        It is not a tensor of classes; the message is the reason.
    """
    tensor, labels, ranking = before_ranking(graph, output)
    scaled = tensor
    while (inner := _without_scale(graph, scaled)) is not None:
        scaled = inner
    for probabilities in dict.fromkeys((tensor, scaled)):
        found = find_activation(graph, probabilities)
        if found is not None:
            check_not_sorted(graph, found.logits)
            same = found.pick == tuple((index, 1) for index in range(found.n_logits))
            return ClassOutput(
                found.logits, found.n_logits, found.activation, None if same else found.pick, probabilities,
                labels=labels, ranking=ranking, rounded=found.rounded,
            )  # fmt: skip
    logits = without_copies(graph, tensor)
    check_not_sorted(graph, logits)
    kind = output_kind(graph, logits)
    return ClassOutput(logits, count_classes(graph, logits), kind=kind, labels=labels, ranking=ranking)


def activation_elsewhere(graph: Graph, explained: ClassOutput) -> tuple[str, str] | None:
    """The activation that the model's own outputs apply to raw logits, and a note; None if they apply none.

    'none' if the outputs apply different ones, or apply them to numbers that are computed from these logits.
    """
    if explained.activation != "none":
        return None
    same, other = dict[str, str](), dict[str, str]()
    for output in graph.outputs:
        try:
            own = read_class_output(graph, output)
        except HeadError:
            continue
        activation = own.activation.removeprefix("log_")
        if activation != "none" and own.logits == explained.logits:
            same[activation] = output
        elif activation != "none" and _depends_only_on(graph, own.logits, explained.logits):
            other[own.logits] = output
    if len(same) == 1 and not other:
        ((activation, output),) = same.items()
        return activation, f"{activation}, which the model itself applies to these logits for its output {output!r}"
    if not same and not other:
        return None
    outputs = ", ".join(map(repr, (*same.values(), *other.values())))
    source = f"a tensor further on ({', '.join(other)})" if other else " and ".join(same)
    return (
        "none",
        f"none: the model makes {outputs} from {source}; leave --logits out, name that, or use --activation",
    )


def _depends_only_on(graph: Graph, tensor: str, source: str) -> bool:
    """Whether a tensor is computed from another one class by class, with nothing but constants."""
    while tensor != source:
        node = graph.producer(tensor)
        if node is None or node.op_type not in CLASS_BY_CLASS:
            return False
        names = graph.computed_inputs(node)
        if len(names) != 1:
            return False
        tensor = names[0]
    return True


def _without_scale(graph: Graph, tensor: str) -> str | None:
    """The tensor that a node copies, or multiplies by a positive constant, as percentages are made; None for others."""
    node = graph.producer(tensor)
    if node is None or not node.input:
        return None
    if node.op_type in COPIES | RESHAPES:
        return node.input[0]
    if node.op_type not in ("Mul", "Div"):
        return None
    constants = [index for index, name in enumerate(node.input) if graph.is_constant(name)]
    if len(constants) != 1 or (node.op_type == "Div" and constants != [1]):
        return None
    factor = constant_number(graph, node.input[constants[0]])
    return node.input[1 - constants[0]] if factor is not None and factor > 0 else None
