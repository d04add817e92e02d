"""What the entries of the metadata say of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from secam_onnx.classifier.metadata.fused_record import FusedRecord
from secam_onnx.classifier.metadata.head_record import WHOLE, HeadRecord
from secam_onnx.photograph.preprocessing import Preprocessing

__all__ = ["class_contradictions", "fused_contradictions", "head_contradictions"]

_MOST_PIXELS = 1 << 29  # of the pictures of one run


def class_contradictions(
    head: HeadRecord, labels: Sequence[str] | None, fused: FusedRecord | None = None
) -> Iterator[str]:
    """Different numbers of classes."""
    n_classes = None if head.pick is None else len(head.pick)
    if fused is not None:
        if n_classes not in (None, fused.n_classes):
            yield f"head.pick has {n_classes} classes, but fused.n_classes is {fused.n_classes}"
        if fused.top_k > fused.n_classes:
            yield f"fused.top_k is {fused.top_k}, but there are {fused.n_classes} classes"
        n_classes = fused.n_classes
    if labels is not None and not labels:
        yield "labels is empty; null was expected where there are no names"
    elif labels is not None and n_classes not in (None, len(labels)):
        yield f"there are {len(labels)} labels for {n_classes} classes"


def head_contradictions(head: HeadRecord) -> Iterator[str]:
    """What cannot be true of a head."""
    if head.special and "L" not in head.layout:
        yield f"head has {head.special} tokens in head.prefix and head.suffix, but a map of {head.layout} has none"
    if len(set(head.all_features)) < len(head.all_features):
        yield "two branches of the head have one feature map"
    branches = {f"head.further[{place}]": (entry.shape, entry.span) for place, entry in enumerate(head.further)}
    for where, (shape, span) in ({"head": (head.shape, head.span)} | branches).items():
        if len(shape) != 3:
            yield f"{where}.shape is {shape}; (C, h, w) was expected"
        if any(start == end for start, end in span):
            yield f"{where}.span is {span}, which is empty"
    if (head.algebra == "detached") != (head.attention is not None):
        yield f"head.algebra is {head.algebra!r}, but head.attention is {'null' if head.attention is None else 'given'}"
    if head.attention is not None:
        passed, total = head.attention.passed, head.attention.total
        if not passed or list(passed) != sorted({*passed}) or passed[-1] > total:
            yield f"head.attention.passed is {passed}; ascending numbers up to the total of {total} were expected"
    if head.pick == ():
        yield "head.pick is empty"


def fused_contradictions(
    fused: FusedRecord, head: HeadRecord, made: Preprocessing, outputs: Sequence[str]
) -> Iterator[str]:
    """What a fused model cannot be with this head, this preprocessing, and these outputs for logits and so on."""
    if made.size != fused.size or not made.takes_rgb:
        yield f"fused.size is {fused.size} of RGB, but the preprocessing is another one: {made}"
    pairs = zip(head.shape[1:], fused.map_size, strict=True)
    if (fused.batch or 1) * fused.size[0] * fused.size[1] > _MOST_PIXELS:
        yield f"fused.batch is {fused.batch} of {fused.size} pixels; at most {_MOST_PIXELS} at once are possible"
    # Maps of several branches, or of a part of the picture, are brought to a common grid.
    if (head.further, head.span) == ((), WHOLE) and any(length not in (None, other) for length, other in pairs):
        yield f"fused.map_size is {fused.map_size}, but head.shape is {head.shape}"
    if fused.segmenter.method != "kmeans":
        yield f"fused.segmenter.method is {fused.segmenter.method!r}, but a graph holds kmeans only"
    for name in outputs:
        if name not in fused.own_outputs:
            yield f"fused.own_outputs does not have {name!r}"
    if len(set(fused.own_outputs.values())) < len(fused.own_outputs):
        yield "fused.own_outputs names one output twice"
