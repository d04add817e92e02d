"""The metadata of exported files.

An explainable model is an ordinary ONNX file whose own inputs and outputs are unchanged. It has the additional output
`secam_features` (float32 `(N, C, h, w)`; `secam_features_2`, ... for further branches of the head), the additional
outputs `secam_logits` and `secam_probabilities` if none of its own holds them, and the `metadata_props` entry
`secam_onnx`: the JSON of a `ModelMetadata`.

The types and ranges of the records' fields are the schema by which the entry is read. `classifier/explainable` and
`classifier/fused` hold what was read against the graph; whoever comes later may trust it.
"""

from secam_onnx.classifier.metadata.fused_record import MAX_CLASSES, Declared, FusedRecord
from secam_onnx.classifier.metadata.head_record import WHOLE, AttentionRecord, BranchRecord, HeadRecord
from secam_onnx.classifier.metadata.model_metadata import FUSED_SCHEMA, KEY, SCHEMA, ModelMetadata
from secam_onnx.classifier.metadata.reports import Agreement, Completeness, Fidelity
from secam_onnx.reserved_prefix import RESERVED

__all__ = [
    "FUSED_SCHEMA",
    "KEY",
    "LOGITS",
    "MAX_CLASSES",
    "PROBABILITIES",
    "SCHEMA",
    "WHOLE",
    "Agreement",
    "AttentionRecord",
    "BranchRecord",
    "Completeness",
    "Declared",
    "Fidelity",
    "FusedRecord",
    "HeadRecord",
    "ModelMetadata",
]

LOGITS = f"{RESERVED}logits"
PROBABILITIES = f"{RESERVED}probabilities"
