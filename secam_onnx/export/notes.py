"""Notes that exporters leave in a model for their own developers."""

from onnx import ModelProto

__all__ = ["strip_notes"]


def strip_notes(model: ModelProto) -> None:
    """Remove the exporter's notes, in place; its stack traces hold paths of this machine."""
    for entries in (model.graph.node, model.graph.value_info, model.graph.input, model.graph.output, [model.graph]):
        for entry in entries:
            entry.ClearField("metadata_props")
            entry.ClearField("doc_string")
