"""Finding the logits, the feature map and the head between them, by walks back from the model's outputs.

Every output and tensor that is not chosen is kept with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from secam_onnx.errors import HeadError, OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import shape_text
from secam_onnx.head.attention_weights import count_attention
from secam_onnx.head.found_head import Head
from secam_onnx.head.outputs.class_output import read_class_output
from secam_onnx.head.outputs.ranking import check_largest_wins
from secam_onnx.head.walk import Rejection, Walk
from secam_onnx.head.walk_any_nodes import walk_to_any_grid
from secam_onnx.head.walk_attention import walk_attention
from secam_onnx.head.walk_understood import walk_by_rules, walk_to_several
from secam_onnx.head_query import ANYTHING, HeadQuery
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["find_head", "find_heads"]

_NO_MASKING = ". Nor is there a feature map that could be masked cell by cell: "

# The walks to try where no feature map was asked for, one, or several.
_WALKS = (
    (walk_attention, walk_by_rules, walk_to_several, walk_to_any_grid),
    (walk_by_rules, walk_attention, walk_to_any_grid),
    (walk_to_several,),
)
_LEADS = {walk_attention: "", walk_by_rules: "", walk_to_several: ". Nor by branches: ", walk_to_any_grid: _NO_MASKING}


def find_head(graph: Graph, query: HeadQuery = ANYTHING) -> Head:
    """Find the head of a classifier.

    Parameters
    ----------
    graph : Graph
        The model.
    query : HeadQuery
        What to look for; by default the only head that there is.

    Returns
    -------
    Head
        The head. If no output leads to a feature map through understood nodes, it has a feature map for each branch, or
        else no steps and a feature map that all paths to the logits pass through.

    Raises
    ------
    HeadError
        No output leads to a feature map; the message lists each with its reason.
    OptionError
        A tensor in `query` is not in the model, or several outputs would do and none was asked for.
    """
    heads = find_heads(graph, query)
    if len(heads) > 1:
        raise OptionError(_several(graph, heads))
    return heads[0]


def find_heads(graph: Graph, query: HeadQuery = ANYTHING) -> list[Head]:
    """Find all heads of a model, one for each tensor of logits, in the order of the outputs; see `find_head`."""
    names = _outputs(graph, query)
    found: list[Head] = []
    reasons: list[tuple[str, list[Rejection]]] = []
    asked = query.blocks is not None  # which no other walk counts
    attends = asked or any(count_attention(graph, name) for name in names)
    for walk in (walk_attention,) if asked else _WALKS[min(len(query.feature_names), 2)]:
        if walk is walk_attention and not attends:
            continue
        found, rejected = _search(graph, names, query, walk)
        reasons.append((_LEADS[walk], rejected))
        if found:
            break
    if not found:
        raise HeadError(_nothing_found(reasons))
    heads = [replace(head, rejected=(*head.rejected, *reasons[0][1])) for head in _distinct(_without_embeddings(found))]
    return sorted(heads, key=lambda head: names.index(head.output))


def _outputs(graph: Graph, query: HeadQuery) -> list[str]:
    """The outputs to search, once all names in the query are known to be in the graph."""
    own = [name for name in graph.outputs if not name.startswith(RESERVED)]
    asked = query.logits
    if asked is not None and (asked.startswith(RESERVED) or graph.producer(asked) is None):
        raise OptionError(f"The model has no output or tensor {asked!r}; its outputs are {', '.join(own) or 'none'}.")
    known = {value.name for value in graph.inputs}
    for name in query.feature_names:
        if name not in known and graph.producer(name) is None:
            raise OptionError(
                f"The model has no tensor {name!r}; `secam-onnx inspect` lists those on the paths to the logits."
            )
    return own if asked is None else [asked]


def _without_embeddings(found: list[Head]) -> list[Head]:
    """The heads that have weights or a softmax; where none has, those before which no other output pools.

    A map of classes with nothing but a pool after it may be an embedding.
    """
    certain = [head for head in found if head.activation != "none" or any(step.mixes for step in head.steps)]
    # Behind attention an embedding has weights, too; class vectors may be compared with it in the same file.
    passed = {name for head in found for step in head.steps if head.attention[0] for name in step.inputs}
    certain = [head for head in certain if head.activation != "none" or head.logits not in passed] or certain
    return certain or [
        head for head in found if not any(_passes(other, head) > _passes(head, other) for other in found)
    ]


def _distinct(found: list[Head]) -> list[Head]:
    """One head for each tensor of logits: the one that tells most about the classes, with the names of all."""
    # Heads with all classes come before rankings, and those whose probabilities are known before others.
    found = sorted(found, key=lambda head: (len(head.class_output.ranking), head.class_output.probabilities is None))
    heads: list[Head] = []
    for head in found:
        alike = [index for index, other in enumerate(heads) if _says_no_more(head, other)]
        if not alike:
            heads.append(head)
        for index in alike:
            output = heads[index].class_output
            output = replace(output, labels=output.labels or head.class_output.labels)
            heads[index] = replace(heads[index], class_output=output)
    return heads


def _several(graph: Graph, heads: Iterable[Head]) -> str:
    """The message that asks which head is meant, with the facts about each."""
    listed = "; ".join(
        f"{head.output!r} {shape_text(graph.shape(head.output))}, {head.n_classes} class{'es' * (head.n_classes > 1)}, "
        + {"none": "no activation"}.get(head.activation, head.activation)
        for head in heads
    )
    return (
        f"Several outputs are logits: {listed}. Choose one by its name: --logits NAME of explain, inspect or export, "
        "logits=NAME in Python; an exported file is for the one that was chosen. `secam-onnx explain --logits all`, or "
        "Heads in Python, explains all."
    )


def _says_no_more(head: Head, other: Head) -> bool:
    """Whether a head has the logits of another one, and no activation or the same."""
    if head.logits != other.logits:
        return False
    own, known = ((one.activation.removeprefix("log_"), one.class_output.pick, one.n_classes) for one in (head, other))
    return own in (known, ("none", None, head.class_output.n_logits))


def _passes(head: Head, other: Head) -> bool:
    """Whether a head passes a tensor that another output pools, as it passes an embedding."""
    mixing = next((index for index, step in enumerate(other.steps) if step.mixes), len(other.steps))
    pooled = {other.logits, *(name for step in other.steps[:mixing] for name in step.inputs)}
    return not pooled.isdisjoint(name for step in head.steps for name in step.inputs)


def _search(
    graph: Graph,
    outputs: Iterable[str],
    query: HeadQuery,
    walk: Callable[[Graph, str, HeadQuery], Walk],
) -> tuple[list[Head], list[Rejection]]:
    """The heads of the outputs that have one, and the reasons of the others."""
    found, rejected = [], []
    for name in outputs:
        if graph.is_from_shapes(name):
            rejected.append(Rejection(name, "it does not depend on the image"))
            continue
        try:
            class_output = read_class_output(graph, name)
            if class_output.activation == "none" and name in graph.outputs:
                check_largest_wins(graph, class_output.logits)
            walked = walk(graph, class_output.logits, query)
        except HeadError as error:
            rejected.append(Rejection(name, str(error)))
            continue
        steps, passed = tuple(walked.steps), tuple(walked.rejected)
        head = Head(tuple(walked.grids), class_output, name, steps, passed, walked.warning)
        found.append(replace(head, attention=walked.attention, nearer=tuple(walked.nearer)))
    return found, rejected


def _nothing_found(reasons: Sequence[tuple[str, Sequence[Rejection]]]) -> str:
    """The error with the reasons of each walk; reasons of an earlier walk are not repeated."""
    text = "No head was found that can be explained: "
    said: set[tuple[str, str]] = set()
    for place, (lead, rejected) in enumerate(reasons):
        lines = []
        for entry in rejected:
            gist = entry.reason if lead == _NO_MASKING else entry.reason.split(" (passed by", 1)[0]
            if (entry.tensor, gist) not in said:
                lines.append(f"output {entry.tensor!r}: {entry.reason}")
            said |= {(entry.tensor, gist), (entry.tensor, entry.reason)}
        if lines:
            text += (lead or ("; " if place else "")) + "; ".join(lines)
    if not any(rejected for _, rejected in reasons):
        text += "the model has no outputs"
    return (
        f"{text}. A classifier was expected whose logits (N, classes) depend on one feature map (N, C, h, w). Name "
        "another output with --logits, a feature map with --features, or rows and columns of tokens with --token-grid."
    )
