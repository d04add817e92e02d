"""What must hold in a model's graph before anything else looks at it, checked in one pass over its nodes.

ONNX Runtime and onnx check the same later, in words of their own, and damaged files have crashed both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from secam_onnx.errors import HeadError, ModelError, OutOfMemoryError, SecamError
from secam_onnx.graph.checks.tensors import check_tensor
from secam_onnx.graph.light_copy import with_initializers_as_inputs
from secam_onnx.memory import out_of_memory

__all__ = ["check_structure", "damage_explained"]

_DEEPEST = 20  # If in If in Loop ...; exporters need two or three
_AGAIN = "Download or export it again."


def check_structure(model: ModelProto) -> None:
    """Check that every tensor is made once, before anything reads it, and that constants are whole.

    Raises
    ------
    ModelError
        The message says what was found and where.
    """
    _check_versions(model)
    _check_names(model)
    _check_graph(model.graph, [], 0)


def _check_names(model: ModelProto) -> None:
    graph = model.graph
    owners = (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    names = [entry.name for entry in owners]
    names += [name for node in graph.node for name in (*node.input, *node.output, node.op_type, node.domain)]
    for name in names:
        if not isinstance(name, str):  # protobuf gives bytes where they are not UTF-8
            raise ModelError(f"The model is damaged: the name {name!r} is not UTF-8. {_AGAIN}")


def _check_versions(model: ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not 1 <= entry.version <= newest:
            raise ModelError(
                f"The model uses opset {entry.version}; 1 to {newest} are known here. Export it with an opset among "
                "these, or upgrade onnx and onnxruntime."
            )
    if model.ir_version > onnx.IR_VERSION:
        raise ModelError(
            f"The model has IR version {model.ir_version}; up to {onnx.IR_VERSION} are known here. Save it with an "
            "older one, or upgrade onnx and onnxruntime."
        )


def _check_graph(graph: GraphProto, outer: Sequence[set[str]], depth: int) -> None:
    if depth > _DEEPEST:
        raise ModelError(f"The model's graphs are nested more than {_DEEPEST} deep; a flat classifier was expected.")
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ModelError(f"The weight {name!r} is a sparse tensor; a dense one was expected. Export it as dense.")
    given: set[str] = set()
    for tensor in graph.initializer:
        if tensor.name in given:
            raise ModelError(f"The model is damaged: the weight {tensor.name!r} is there twice. {_AGAIN}")
        given.add(tensor.name)
        check_tensor(tensor)
    inputs = [value.name for value in graph.input]
    if len(set(inputs)) < len(inputs) or "" in inputs:
        raise ModelError(f"The model is damaged: two of its inputs share a name, or one has none. {_AGAIN}")
    given.update(inputs)
    later = {name for node in graph.node for name in node.output}
    for node in graph.node:
        _check_node(node, given, later, outer, depth)
    for value in graph.output:
        if not value.name or not any(value.name in names for names in (given, *outer)):
            raise ModelError(f"The model is damaged: nothing makes its output {value.name!r}. {_AGAIN}")


def _check_node(node: NodeProto, given: set[str], later: set[str], outer: Sequence[set[str]], depth: int) -> None:
    outputs = [name for name in node.output if name]
    what = f"{node.op_type} {node.name or next(iter(outputs), '')!r}"
    if not node.op_type:
        raise ModelError(f"The model is damaged: the node {node.name!r} names no operator. {_AGAIN}")
    if not outputs:
        raise ModelError(f"The model is damaged: {what} has no output. {_AGAIN}")
    for name in node.input:
        if not name or any(name in names for names in (given, *outer)):
            continue
        if name in later:
            raise ModelError(
                f"The model is damaged: {what} reads {name!r} before it is made, so the graph is cyclic. {_AGAIN}"
            )
        raise ModelError(f"The model is damaged: {what} reads {name!r}, which nothing makes. {_AGAIN}")
    for attribute in node.attribute:
        _check_attribute(attribute, what, [*outer, given], depth)
    for name in outputs:
        if name in given:
            raise ModelError(f"The model is damaged: {name!r} is made twice, the second time by {what}. {_AGAIN}")
        given.add(name)


def _check_attribute(attribute: AttributeProto, what: str, scope: Sequence[set[str]], depth: int) -> None:
    known = AttributeProto.AttributeType.values()
    if attribute.type not in known or attribute.type == AttributeProto.UNDEFINED or attribute.ref_attr_name:
        raise ModelError(f"The model is damaged: the attribute {attribute.name!r} of {what} has no value. {_AGAIN}")
    if attribute.name == "strides" and 0 in attribute.ints:  # onnx 1.21 and ONNX Runtime 1.27 divide by it and crash
        raise ModelError(f"The model is damaged: {what} has strides of 0; 1 or more were expected. {_AGAIN}")
    if attribute.type in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS):
        raise ModelError(f"{what} holds a sparse tensor; a dense one was expected. Export it as dense.")
    for tensor in (*([attribute.t] if attribute.type == AttributeProto.TENSOR else []), *attribute.tensors):
        check_tensor(tensor)
    for graph in (*([attribute.g] if attribute.type == AttributeProto.GRAPH else []), *attribute.graphs):
        _check_graph(graph, scope, depth + 1)


@contextlib.contextmanager
def damage_explained(model: ModelProto) -> Iterator[None]:
    """Turn an exception during the analysis of a model into its reason, if onnx's checker finds one in the model.

    The checker does not run before: not all files that ONNX Runtime runs pass it.

    Raises
    ------
    ModelError
        Any exception but our own; the message has the reason, where the checker finds one.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except SecamError as error:
        reason = _broken_rule(model) if isinstance(error, HeadError) else None
        if reason is None:
            raise
        raise HeadError(f"{error} Also, onnx's checker finds the model damaged: {reason}.") from error
    except Exception as error:
        if memory := out_of_memory(error):
            raise memory from error
        if isinstance(error, RecursionError):
            raise ModelError(
                "The model has more nodes in a row than can be followed; an image classifier was expected. Export a "
                "smaller model."
            ) from error
        reason = _broken_rule(model)
        if reason is not None:
            raise ModelError(f"The model is damaged: {reason}. {_AGAIN}") from error
        raise ModelError(
            f"The model cannot be analysed ({type(error).__name__}: {error}). It may be damaged in a way that onnx's "
            "checker does not see; if other programs run it, please report it."
        ) from error


def _broken_rule(model: ModelProto) -> str | None:
    try:
        _ask_onnx(model)
    except Exception as error:  # whatever onnx raises, the model is the cause
        return " ".join(str(error).split()).rstrip(".")
    return None


def _ask_onnx(model: ModelProto) -> None:
    light = with_initializers_as_inputs(model)
    light.graph.name = "checked"  # the checker requires a name
    del light.graph.value_info[:]  # exporters may write wrong shapes there
    onnx.checker.check_model(light)
    onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=True)
