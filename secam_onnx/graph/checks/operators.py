"""A check for custom operators, which need a library of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx
from onnx import GraphProto, ModelProto, NodeProto

from secam_onnx.errors import ModelError

__all__ = ["check_operators"]

_SHOWN = 5
_DOMAINS = ("ai.onnx.", "com.microsoft", "com.ms.", "org.pytorch.aten")
_EXTENSIONS = "ai.onnx.contrib"  # the domain of onnxruntime-extensions
# Not in the standard, but in its domain in ONNX Runtime 1.27 to 1.32.
_OLD = {
    *("Affine", "Crop", "DynamicSlice", "GRUUnit", "GivenTensorFill", "ImageScaler", "MemcpyFromHost", "MemcpyToHost"),
    *("ParametricSoftplus", "Scale", "ScaledTanh", "SimplifiedLayerNormalization"),
}


def check_operators(model: ModelProto) -> None:
    """Refuse custom operators, which ONNX Runtime cannot run.

    Raises
    ------
    ModelError
        There are some; the message names them and counts the nodes of each.
    """
    custom = Counter((node.op_type, node.domain) for node in _nodes(model.graph) if _is_custom(node))
    if not custom:
        return
    listed = [f"{kind} of {domain or 'the ONNX domain'} ({count})" for (kind, domain), count in custom.most_common()]
    names = ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
    nodes = sum(custom.values())
    todo = "Export the model without them, or as the standard operators that they stand for."
    if any(domain == _EXTENSIONS for _, domain in custom):
        todo = "They belong to onnxruntime-extensions; export the model without its pre- and postprocessing."
    raise ModelError(
        f"The model has {nodes} node{'s' if nodes > 1 else ''} of custom operators, which ONNX Runtime does not have: "
        f"{names}. {todo}"
    )


def _is_custom(node: NodeProto) -> bool:
    kind, domain = str(node.op_type), str(node.domain)  # in a branch they may be bytes that are not UTF-8
    if domain in ("", "ai.onnx"):
        return bool(kind) and not onnx.defs.has(kind) and not _is_old(kind)
    return domain == _EXTENSIONS or not domain.startswith(_DOMAINS)


def _is_old(kind: str) -> bool:
    return kind in _OLD or kind.endswith("_TRT")


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)
