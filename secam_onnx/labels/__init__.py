"""Class names: reading them in the forms that people have them in, and finding a class by what a user typed."""

from secam_onnx.labels.label_files import given_labels, parse_names, read_labels
from secam_onnx.labels.objects import classes_in_words, in_order, miscounted, timm_names, transformers_names
from secam_onnx.labels.queries import (
    ClassQuery,
    as_queries,
    class_codes,
    class_name,
    find_class,
    resolve_classes,
)

__all__ = [
    "ClassQuery",
    "as_queries",
    "class_codes",
    "class_name",
    "classes_in_words",
    "find_class",
    "given_labels",
    "in_order",
    "miscounted",
    "parse_names",
    "read_labels",
    "resolve_classes",
    "timm_names",
    "transformers_names",
]
