"""Inlining of model-local functions, which exporters write for whole modules."""

from __future__ import annotations

from collections.abc import Iterable

import onnx.inliner
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from secam_onnx.errors import ModelError
from secam_onnx.graph.checks.size import MOST_NODES
from secam_onnx.graph.light_copy import with_initializers_as_inputs

__all__ = ["inline_functions"]

_Name = tuple[str, str, str]


def inline_functions(model: ModelProto) -> ModelProto:
    """The model with all calls of its own functions replaced by their nodes; the same model if it has none.

    Raises
    ------
    ModelError
        A function calls itself, or there would be too many nodes.
    """
    if not model.functions:
        return model
    _check_size(model)
    try:
        inlined = onnx.inliner.inline_local_functions(with_initializers_as_inputs(model))
    except Exception as error:
        raise ModelError(
            f"The model's own functions cannot be inlined ({error}); export it without functions."
        ) from error
    own = {value.name for value in model.graph.input}
    for index in reversed(range(len(inlined.graph.input))):
        if inlined.graph.input[index].name not in own:
            del inlined.graph.input[index]
    inlined.graph.initializer.extend(model.graph.initializer)
    inlined.graph.quantization_annotation.extend(model.graph.quantization_annotation)
    inlined.metadata_props.extend(model.metadata_props)
    for said in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        setattr(inlined, said, getattr(model, said))
    inlined.graph.doc_string = model.graph.doc_string
    return inlined


def _check_size(model: ModelProto) -> None:
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    sizes: dict[_Name, int] = {}
    todo: list[_Name] = list(functions)
    running: set[_Name] = set()
    while todo:  # depth first without recursion: a function is counted when all that it calls are
        name = todo[-1]
        if name in sizes:
            todo.pop()
            continue
        calls = _calls(functions[name].node, functions)
        missing = [called for called in calls if called not in sizes]
        if any(called in running for called in missing):
            raise ModelError(f"The model's function {name[1]!r} calls itself; export the model again.")
        running.add(name)
        if missing:
            todo += missing
            continue
        sizes[name] = len(functions[name].node) + sum(sizes[called] for called in calls)
        running.discard(name)
        todo.pop()
    total = len(model.graph.node) + sum(sizes[called] for called in _calls(model.graph.node, functions))
    if total > MOST_NODES:
        raise ModelError(
            f"The model's functions would expand to {total} nodes; at most {MOST_NODES} are accepted. "
            "Export a smaller model."
        )


def _calls(nodes: Iterable[NodeProto], functions: dict[_Name, FunctionProto]) -> list[_Name]:
    calls = []
    todo = list(nodes)
    while todo:
        node = todo.pop()
        name = (node.domain, node.op_type, node.overload)
        if name in functions:
            calls.append(name)
        for attribute in node.attribute:
            graphs: list[GraphProto] = [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
            for graph in graphs:
                todo += graph.node
    return calls
