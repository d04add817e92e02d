"""What an exported model says of itself: the metadata in its file, and the outputs that they describe.

An explainable model is an ordinary ONNX file with its own inputs and outputs untouched and, besides them, the output
`secam_features` (float32 `(N, C, h, w)`; `secam_features_2`, ... for further branches of the head), `secam_logits` and
`secam_probabilities` where the model itself does not give them so, and one `metadata_props` entry, key `secam_onnx`:
the JSON of a `ModelMetadata`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from secam_onnx.errors import ModelError, SecamError
from secam_onnx.names import RESERVED
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.selection import Selection

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "FUSED_SCHEMA",
    "KEY",
    "LOGITS",
    "PROBABILITIES",
    "SCHEMA",
    "WHOLE",
    "BranchRecord",
    "Declared",
    "FusedRecord",
    "HeadRecord",
    "ModelMetadata",
]

KEY = "secam_onnx"
SCHEMA = 2
FUSED_SCHEMA = 2
LOGITS = f"{RESERVED}logits"
PROBABILITIES = f"{RESERVED}probabilities"

Span = tuple[tuple[float, float], tuple[float, float]]
"""Where rows and columns start and end, as shares of the picture's edge."""

WHOLE: Span = ((0.0, 1.0), (0.0, 1.0))

_AGAIN = "Export the original model again with `secam-onnx export`."
_LONGEST = 50_000_000  # characters; 21,000 class names take 2 million


@dataclass(frozen=True)
class BranchRecord:
    """A further feature map of a head that takes several, which the output `secam_features_2`, ... holds.

    Attributes
    ----------
    features, shape, layout, span
        As in `HeadRecord`.
    """

    features: str
    shape: tuple[int | None, ...]
    layout: str = "NCHW"
    span: Span = WHOLE

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BranchRecord:
        """Read what `dataclasses.asdict` wrote; errors as of `HeadRecord.from_dict`."""
        data["shape"], data["span"] = _shape(data["shape"]), _span(data["span"])
        _check_texts(data["features"])
        return cls(**data)


@dataclass(frozen=True)
class HeadRecord:
    """The head as it was found at export, for people and for finding it again.

    Attributes
    ----------
    kind : str
        In the field's words, from the features on: `gap + fc`.
    features : str
        The feature map, by its name in the graph.
    shape : tuple
        `(C, h, w)`; None for lengths that the run decides.
    weights : tuple of str
        Weight tensors, from the features on.
    steps : tuple of (str, str)
        The nodes on the way down to the logits, each with what it was understood as.
    rejected : tuple of (str, str)
        Tensors that were not chosen, with reasons.
    layout : {'NCHW', 'NHWC', 'NLC', 'NCL', 'LNC'}
        The feature map's own axes, L for tokens; the output `secam_features` is NCHW whatever they are.
    algebra : {'piecewise linear', 'rounded', 'smooth', 'unknown'}
        Whether the map adds up to the logit exactly, but for rounding, nearly, or the head is masked and run again.
    prefix, suffix : int
        Tokens before and behind the grid that have no position; then `secam_features_own_layout`, `(N, tokens, C)`,
        has all.
    span : ((float, float), (float, float))
        The part of the picture that the feature map lies on: start and end of its rows and columns as shares of the
        edge, the end first where the model mirrors the picture.
    further : tuple of BranchRecord
        The other feature maps of a head that takes several, as a mean of two networks does.
    pick : tuple of (int, int) or None
        For every class the index of its logit in the graph, and 1 or -1, where they are not the same (see
        `head.ClassOutput`).
    """

    kind: str
    features: str
    shape: tuple[int | None, ...]
    weights: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    rejected: tuple[tuple[str, str], ...] = ()
    layout: str = "NCHW"
    algebra: str = "piecewise linear"
    prefix: int = 0
    suffix: int = 0
    span: Span = WHOLE
    further: tuple[BranchRecord, ...] = ()

    pick: tuple[tuple[int, int], ...] | None = None

    @property
    def all_features(self) -> tuple[str, ...]:
        """Names of all feature maps."""
        return (self.features, *(entry.features for entry in self.further))

    @property
    def special(self) -> int:
        """How many tokens have no position."""
        return self.prefix + self.suffix

    @property
    def token_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the tokens, where the feature map is made of tokens."""
        _, rows, columns = self.shape
        return (rows, columns) if "L" in self.layout and rows and columns else None

    @property
    def own_shape(self) -> tuple[int | None, ...] | None:
        """The shape in its own layout, the batch open; None where the run decides."""
        channels, rows, columns = self.shape
        if channels is None or rows is None or columns is None:
            return None
        lengths = {"N": None, "C": channels, "H": rows, "W": columns, "L": self.special + rows * columns}
        return tuple(lengths[axis] for axis in self.layout)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HeadRecord:
        """Read what `dataclasses.asdict` wrote.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError
            It is something else.
        """
        data["shape"], data["span"] = _shape(data["shape"]), _span(data["span"])
        data["weights"] = tuple(data["weights"])
        for key in ("steps", "rejected"):
            data[key] = tuple((str(name), str(reason)) for name, reason in data[key])
        data["further"] = tuple(map(BranchRecord.from_dict, data["further"]))
        if data["pick"] is not None:
            data["pick"] = tuple((int(index), int(sign)) for index, sign in data["pick"])
        _check_texts(data["kind"], data["features"], *data["weights"])
        return cls(**data)


Declared = dict[str, tuple[str, list[int | str]]]
"""Type and shape of tensors, by name."""


@dataclass(frozen=True)
class FusedRecord:
    """What a fused model has in its graph besides the network, for reading it without looking at the graph.

    Attributes
    ----------
    size : (int, int)
        Height and width of the pictures that it takes.
    batch : int or None
        How many at once; None for any number.
    opset : int
        Version of the standard operators.
    n_classes : int
        Number of classes.
    map_size : (int, int)
        Rows and columns of the feature map.
    n_segments : int
        S; a picture may have fewer superpixels.
    segmenter : Segmenter
        How superpixels are made.
    selection : Selection
        Which superpixels the overlay keeps.
    attribution : {'gradient', 'integrated', 'masking'}
        How maps are made.
    tolerance : float
        See `Classifier`.
    top_k : int
        How many of the highest classes are explained by default.
    default_classes : bool
        Whether there is a default.
    overlay : bool
        Whether the finished picture is an output.
    float16 : bool
        Whether weights are stored with 16 bits.
    own_outputs : dict
        What the model's own outputs are called, where their names were taken.
    agreement : dict
        How it compared with the explainer when it was made; see `Agreement`.
    """

    size: tuple[int, int]
    batch: int | None
    opset: int
    n_classes: int
    map_size: tuple[int, int]
    n_segments: int
    segmenter: Segmenter
    selection: Selection
    attribution: str
    tolerance: float
    top_k: int
    default_classes: bool
    overlay: bool
    float16: bool
    own_outputs: Mapping[str, str]
    agreement: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> Declared:
        """`image`, sRGB; and `classes`: indices, or -1 for the class of the highest logit, -2 for the next, ..."""
        return {"image": ("uint8", [self._n, *self.size, 3]), "classes": ("int64", ["N or 1", "K"])}

    @property
    def outputs(self) -> Declared:
        """Those besides the model's own; K classes, S superpixels."""
        of_classes: list[int | str] = [self._n, "K"]
        results: Declared = {
            "class_ids": ("int64", of_classes),
            "class_logits": ("float32", of_classes),
            "class_probabilities": ("float32", of_classes),
            "cam": ("float32", [*of_classes, *self.map_size]),
            "bias": ("float32", of_classes),
            "segments": ("int32", [self._n, *self.size]),
            "n_segments": ("int32", [self._n]),
            "segment_scores": ("float32", [*of_classes, self.n_segments]),
            "segment_contributions": ("float32", [*of_classes, self.n_segments]),
        }
        return results | ({"overlay": ("uint8", [*of_classes, *self.size, 3])} if self.overlay else {})

    @property
    def _n(self) -> int | str:
        return self.batch or "N"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FusedRecord:
        """Read what `dataclasses.asdict` wrote.

        Raises
        ------
        ValueError, TypeError, KeyError
            It is something else.
        """
        height, width = data.pop("size")
        rows, columns = data.pop("map_size")
        numbers = [height, width, rows, columns, data["n_classes"], data["n_segments"], data["top_k"]]
        if any(type(number) is not int or number < 1 for number in numbers):
            raise ValueError(f"{numbers} are no lengths")
        segmenter, selection = Segmenter(**data.pop("segmenter")), Selection(**data.pop("selection"))
        data |= {"size": (height, width), "map_size": (rows, columns), "segmenter": segmenter, "selection": selection}
        return cls(**data)


@dataclass(frozen=True)
class ModelMetadata:
    """What an explainable model says of itself.

    Attributes
    ----------
    explained_output : str
        The model's own output that is explained, or a tensor within it.
    logits : str
        The output that holds the explained quantity, one number a class: `explained_output`, or `secam_logits`.
    activation : {'none', 'softmax', 'log_softmax', 'sigmoid'}
        What the model applies between logits and `explained_output`.
    probabilities : str or None
        The output that holds the model's own probabilities; None where it has none.
    probability : {'softmax', 'sigmoid', 'none'}
        What makes probabilities of the logits, where the model has none; `origin` says how that was chosen.
    head : HeadRecord
        The head.
    preprocessing : Preprocessing
        From photograph to input tensor.
    labels : tuple of str or None
        Class names.
    origin : dict
        Where the model came from and how its preprocessing was chosen.
    completeness : dict
        The proof made at export: largest `|sum(M_c) + b_c - z_c|`, relative, and on what.
    fidelity : dict
        How the outputs compared, at export, with those of the file that it was made of; see `Fidelity`.
    fused : FusedRecord or None
        What a fused model has besides.
    """

    explained_output: str
    logits: str
    activation: str
    head: HeadRecord
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    completeness: Mapping[str, Any] = field(default_factory=dict)
    fidelity: Mapping[str, Any] = field(default_factory=dict)
    fused: FusedRecord | None = None
    probabilities: str | None = None
    probability: str = "softmax"

    @property
    def explained(self) -> str:
        """The explained quantity: the 'logit' of a class, or the model's 'output' itself, behind which lies none."""
        raw = self.activation == "none" and (self.probabilities is not None or self.probability == "none")
        return "output" if raw else "logit"

    @property
    def probability_note(self) -> str:
        """Where a probability comes from, for people."""
        if self.probabilities is not None:
            own = "the model's own" if self.activation == "none" else f"the model's own {self.activation}"
            return self.origin.get("probability", own)
        return self.origin.get("probability") or f"{self.probability} of the logits"

    def with_agreement(self, agreement: Mapping[str, Any]) -> ModelMetadata:
        """The same of a fused model, with how it compared with the explainer."""
        return dataclasses.replace(self, fused=self.fused and dataclasses.replace(self.fused, agreement=agreement))

    def to_json(self) -> str:
        """The text of the metadata entry."""
        body = {**dataclasses.asdict(self), "preprocessing": self.preprocessing.to_dict()}
        fused = body.pop("fused")
        if fused is not None:
            body["fused"] = {"schema": FUSED_SCHEMA, **fused}
        return json.dumps({"schema": SCHEMA, **body}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelMetadata:
        """Read the text of the metadata entry.

        Raises
        ------
        ModelError
            Not JSON, another schema, or incomplete.
        """
        try:
            data = _parsed(text)
            fused, labels = data.pop("fused", None), data.pop("labels")
            labels = None if labels is None else tuple(labels)
            names = [data[key] for key in ("explained_output", "logits", "activation", "probability")]
            _check_texts(*names, *(labels or ()))
            return cls(
                head=HeadRecord.from_dict(data.pop("head")),
                preprocessing=Preprocessing.from_dict(data.pop("preprocessing")),
                labels=labels,
                fused=None if fused is None else FusedRecord.from_dict(fused),
                **data,
            )
        except ModelError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SecamError) as error:
            raise ModelError(f"The model's secam_onnx metadata is damaged ({error!r}). {_AGAIN}") from error

    @classmethod
    def of(cls, model: ModelProto) -> ModelMetadata | None:
        """What a model says of itself; None if it is an ordinary one.

        Raises
        ------
        ModelError
            There is one, and it cannot be read.
        """
        for entry in model.metadata_props:
            if entry.key == KEY:
                return cls.from_json(entry.value)
        return None

    def write_to(self, model: ModelProto) -> None:
        """Write the entry into a model, in place."""
        for entry in model.metadata_props:
            if entry.key == KEY:
                entry.value = self.to_json()
                return
        model.metadata_props.add(key=KEY, value=self.to_json())


def _parsed(text: str) -> dict[str, Any]:
    """The JSON of the entry, and of what is fused in it, without the numbers of their schemas, which are ours."""
    if len(text) > _LONGEST:
        raise ValueError(f"{len(text)} characters, at most {_LONGEST} were expected")
    data: dict[str, Any] = json.loads(text)
    fused = data.get("fused")
    if fused is not None and (found := fused.pop("schema")) != FUSED_SCHEMA:
        raise ModelError(
            f"The fused model has schema {found!r}; this version reads {FUSED_SCHEMA}. Fuse the original model again "
            "with `secam-onnx export --fused`."
        )
    if (found := data.pop("schema")) != SCHEMA:
        raise ModelError(f"The model's secam_onnx metadata has schema {found!r}; this version reads {SCHEMA}. {_AGAIN}")
    return data


def _check_texts(*values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise TypeError("a name is no text")


def _shape(lengths: list[Any]) -> tuple[int | None, ...]:
    if len(lengths) != 3 or not all(length is None or (type(length) is int and length > 0) for length in lengths):
        raise ValueError(f"the feature map has the shape {lengths}")
    return tuple(lengths)


def _span(edges: Any) -> Span:
    (top, bottom), (left, right) = edges
    return (float(top), float(bottom)), (float(left), float(right))
