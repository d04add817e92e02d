"""The head in the metadata: where its feature map is, and how it was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from secam_onnx.schema import OneOf, Within

__all__ = ["WHOLE", "AttentionRecord", "BranchRecord", "HeadRecord", "Length", "Span"]

Length = Annotated[int, Within(1, (1 << 31) - 1)]
"""Of an axis."""

Blocks = Annotated[int, Within(1, 100_000)]
Layout = Annotated[str, OneOf("NCHW", "NHWC", "NLC", "NCL", "LNC")]
Count = Annotated[int, Within(0, (1 << 31) - 1)]
Sign = Annotated[int, OneOf(1, -1)]
MapShape = tuple[Length | None, ...]

Share = Annotated[float, Within(0, 1)]
Span = tuple[tuple[Share, Share], tuple[Share, Share]]
"""Start and end of rows and columns, as fractions of the picture's edges."""

WHOLE: Span = ((0.0, 1.0), (0.0, 1.0))

ROUNDS = "what rounding changes is the completeness gap"
NOT_MEASURED = "not measured for networks of this kind (windows, convolutions between the blocks, a single block)"


@dataclass(frozen=True)
class BranchRecord:
    """A further feature map of a head with several branches; the output `secam_features_2`, ... holds it.

    Attributes
    ----------
    features, shape, layout, span
        As in `HeadRecord`.
    """

    features: str
    shape: MapShape
    layout: Layout = "NCHW"
    span: Span = WHOLE


@dataclass(frozen=True)
class AttentionRecord:
    """The attention of a detached head; as text, what a user is told of maps that are made through it.

    Attributes
    ----------
    passed : tuple of int
        How many products of attention weights and values lie between the feature map and the logits. Of several
        numbers, the last is that of `features`, and the maps of all are averaged.
    total : int
        How many there are in the network.
    plain : bool
        Whether the network is a plain transformer: several blocks, each of which attends to all tokens of the feature
        map, without convolutions between them. Faithfulness was measured for such networks only.
    rounds : bool
        Whether the head is quantised: then the map adds up to the logit but for what rounding changes.
    """

    passed: tuple[Blocks, ...]
    total: Blocks
    plain: bool = True
    rounds: bool = False

    def __str__(self) -> str:
        return (
            f"from {last_blocks(self)}, attention weights held; what moves attention is not counted"
            f"{f'; {ROUNDS}' if self.rounds else ''}"
            f"{'' if self.plain else f'; {NOT_MEASURED}'}"
        )


def last_blocks(attention: AttentionRecord) -> str:
    """The blocks that a map was made through, in words: `the last 4 of 12 attention blocks`."""
    *nearer, passed = attention.passed
    if nearer:
        return f"the last {', '.join(map(str, nearer))} and {passed} of {attention.total} attention blocks, averaged"
    if attention.total == 1:
        return "the only attention block"
    if passed == attention.total:
        return f"all {passed} attention blocks"
    return f"the last{f' {passed}' if passed > 1 else ''} of {attention.total} attention blocks"


@dataclass(frozen=True)
class HeadRecord:
    """The head as it was found at export: a description, and what is needed to find it again.

    Attributes
    ----------
    kind : str
        The layers from the feature map to the logits: `gap + fc`.
    features : str
        The name of the feature map in the graph.
    shape : tuple
        `(C, h, w)`; None for lengths that depend on the input.
    weights : tuple of str
        Names of the weight tensors, in the same order.
    steps : tuple of (str, str)
        The nodes in the same order, each with how it was read.
    rejected : tuple of (str, str)
        Tensors that were not chosen as the feature map, with reasons.
    layout : {'NCHW', 'NHWC', 'NLC', 'NCL', 'LNC'}
        The axes of the feature map in the graph, L for tokens; the output `secam_features` is always NCHW.
    algebra : {'piecewise linear', 'rounded', 'detached', 'smooth', 'unknown'}
        How the map adds up to the logit: exactly, up to the rounding of a quantised head, nearly, or not at all, as the
        head is masked and run again.
    prefix, suffix : int
        Numbers of tokens without position before and behind the grid; if there are any, the output
        `secam_features_own_layout`, `(N, tokens, C)`, holds all tokens.
    span : ((float, float), (float, float))
        The part of the picture that the feature map covers: start and end of its rows and of its columns as fractions
        of the edges; the end comes first if the model mirrors the picture.
    further : tuple of BranchRecord
        The other feature maps of a head with several branches, such as a mean of two networks.
    pick : tuple of (int, int) or None
        For every class the index of its logit in the graph and its sign, 1 or -1; None if class and logit have the same
        index (see `head.ClassOutput`).
    attention : AttentionRecord or None
        The attention that the head passes, if its algebra is `'detached'`.
    """

    kind: str
    features: str
    shape: MapShape
    weights: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    rejected: tuple[tuple[str, str], ...] = ()
    layout: Layout = "NCHW"
    algebra: Annotated[str, OneOf("piecewise linear", "rounded", "detached", "smooth", "unknown")] = "piecewise linear"
    prefix: Count = 0
    suffix: Count = 0
    span: Span = WHOLE
    further: tuple[BranchRecord, ...] = ()
    pick: tuple[tuple[Count, Sign], ...] | None = None
    attention: AttentionRecord | None = None

    @property
    def all_features(self) -> tuple[str, ...]:
        """Names of all feature maps."""
        return (self.features, *(entry.features for entry in self.further))

    @property
    def special(self) -> int:
        """Number of tokens without position."""
        return self.prefix + self.suffix

    @property
    def token_grid(self) -> tuple[int, int] | None:
        """Rows and columns of a feature map made of tokens; None for any other."""
        _, rows, columns = self.shape
        return (rows, columns) if "L" in self.layout and rows and columns else None

    @property
    def own_shape(self) -> tuple[int | None, ...] | None:
        """The shape in the layout of the graph, with the batch open; None if lengths depend on the input."""
        channels, rows, columns = self.shape
        if channels is None or rows is None or columns is None:
            return None
        lengths = {"N": None, "C": channels, "H": rows, "W": columns, "L": self.special + rows * columns}
        return tuple(lengths[axis] for axis in self.layout)
