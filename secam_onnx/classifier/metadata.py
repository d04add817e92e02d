"""The metadata of exported files.

An explainable model is an ordinary ONNX file whose own inputs and outputs are unchanged. It has the additional output
`secam_features` (float32 `(N, C, h, w)`; `secam_features_2`, ... for further branches of the head), the additional
outputs `secam_logits` and `secam_probabilities` if none of its own holds them, and the `metadata_props` entry
`secam_onnx`: the JSON of a `ModelMetadata`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from secam_onnx.errors import ModelError, SecamError
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.reserved_prefix import RESERVED
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
"""Start and end of rows and columns, as fractions of the picture's edges."""

WHOLE: Span = ((0.0, 1.0), (0.0, 1.0))

_AGAIN = "Export the original model again with `secam-onnx export`."
_LONGEST = 50_000_000  # characters; 21,000 class names take 2 million


@dataclass(frozen=True)
class BranchRecord:
    """A further feature map of a head with several branches; the output `secam_features_2`, ... holds it.

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
        """Read the result of `dataclasses.asdict`; errors as in `HeadRecord.from_dict`."""
        data["shape"], data["span"] = _shape(data["shape"]), _span(data["span"])
        _check_texts(data["features"])
        return cls(**data)


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
    algebra : {'piecewise linear', 'rounded', 'smooth', 'unknown'}
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

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HeadRecord:
        """Read the result of `dataclasses.asdict`.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError
            It is not such a result.
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
    """What a fused model has in its graph beside the network.

    Attributes
    ----------
    size : (int, int)
        Height and width of its input pictures.
    batch : int or None
        Number of pictures in one run; None for any number.
    opset : int
        Version of the standard operators.
    n_classes : int
        Number of classes.
    map_size : (int, int)
        Rows and columns of the feature map.
    n_segments : int
        S, the largest number of superpixels of a picture.
    segmenter : Segmenter
        How superpixels are made.
    selection : Selection
        Which superpixels the overlay keeps.
    attribution : {'gradient', 'integrated', 'masking'}
        How maps are made.
    tolerance : float
        The largest completeness error that the precision of the network explains.
    top_k : int
        Number of the highest classes that are explained by default.
    default_classes : bool
        Whether the input `classes` has a default.
    overlay : bool
        Whether the finished picture is an output.
    float16 : bool
        Whether weights are stored with 16 bits.
    own_outputs : dict
        Names of the model's own outputs in the fused file, by their names in the model; they differ if the name was
        taken.
    agreement : dict
        How the fused model compared with the explainer when it was made; see `Agreement`.
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
        """`image`, sRGB, and `classes`: indices, or -1 for the class of the highest logit, -2 for the next, ..."""
        return {"image": ("uint8", [self._n, *self.size, 3]), "classes": ("int64", ["N or 1", "K"])}

    @property
    def outputs(self) -> Declared:
        """The outputs beside the model's own, for K classes and S superpixels."""
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
        """Read the result of `dataclasses.asdict`.

        Raises
        ------
        ValueError, TypeError, KeyError
            It is not such a result.
        """
        height, width = data.pop("size")
        rows, columns = data.pop("map_size")
        numbers = [height, width, rows, columns, data["n_classes"], data["n_segments"], data["top_k"]]
        if any(type(number) is not int or number < 1 for number in numbers):
            raise ValueError(f"lengths {numbers}; whole numbers of 1 or more were expected")
        segmenter, selection = Segmenter(**data.pop("segmenter")), Selection(**data.pop("selection"))
        data |= {"size": (height, width), "map_size": (rows, columns), "segmenter": segmenter, "selection": selection}
        return cls(**data)


@dataclass(frozen=True)
class ModelMetadata:
    """The metadata of an explainable or fused model.

    Attributes
    ----------
    explained_output : str
        The explained output of the model, or the explained tensor inside it.
    logits : str
        The output with one explained number for each class: `explained_output` or `secam_logits`.
    activation : {'none', 'softmax', 'log_softmax', 'sigmoid'}
        What the model applies to the logits to compute `explained_output`.
    probabilities : str or None
        The output with the model's own probabilities; None if it has none.
    probability : {'softmax', 'sigmoid', 'none'}
        What turns the logits into probabilities if the model itself does not; `origin` says how that was chosen.
    head : HeadRecord
        The head between feature map and logits.
    preprocessing : Preprocessing
        From photograph to input tensor.
    labels : tuple of str or None
        Class names; None if unknown.
    origin : dict
        Where the model came from, and how its preprocessing, class names and probabilities were chosen.
    completeness : dict
        The proof made at export: the largest relative `|sum(M_c) + b_c - z_c|`, and the images; see `Completeness`.
    fidelity : dict
        How the outputs compared with those of the original file at export; see `Fidelity`.
    fused : FusedRecord or None
        What a fused model adds; None for an explainable model.
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
        """What is explained: the `'logit'` of a class, or the `'output'` of a model without logits."""
        raw = self.activation == "none" and (self.probabilities is not None or self.probability == "none")
        return "output" if raw else "logit"

    @property
    def probability_note(self) -> str:
        """Where the probabilities come from, as text for display."""
        if self.probabilities is not None:
            own = "the model's own" if self.activation == "none" else f"the model's own {self.activation}"
            return self.origin.get("probability", own)
        return self.origin.get("probability") or f"{self.probability} of the logits"

    def with_agreement(self, agreement: Mapping[str, Any]) -> ModelMetadata:
        """The metadata of a fused model with the result of its comparison."""
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
            It is not JSON, has another schema, or is incomplete.
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
        """Read the metadata of a model; None for an ordinary model.

        Raises
        ------
        ModelError
            The metadata cannot be read.
        """
        for entry in model.metadata_props:
            if entry.key == KEY:
                return cls.from_json(entry.value)
        return None

    def write_to(self, model: ModelProto) -> None:
        """Write the metadata into a model, in place."""
        for entry in model.metadata_props:
            if entry.key == KEY:
                entry.value = self.to_json()
                return
        model.metadata_props.add(key=KEY, value=self.to_json())


def _parsed(text: str) -> dict[str, Any]:
    """The entry as a dict, after its schemas were checked and removed."""
    if len(text) > _LONGEST:
        raise ValueError(f"{len(text)} characters; at most {_LONGEST} were expected")
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
        raise TypeError("text was expected for every name")


def _shape(lengths: list[Any]) -> tuple[int | None, ...]:
    if len(lengths) != 3 or not all(length is None or (type(length) is int and length > 0) for length in lengths):
        raise ValueError(f"feature map of shape {lengths}; (C, h, w) was expected")
    return tuple(lengths)


def _span(edges: Any) -> Span:
    (top, bottom), (left, right) = edges
    return (float(top), float(bottom)), (float(left), float(right))
