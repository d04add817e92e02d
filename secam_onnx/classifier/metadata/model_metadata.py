"""The metadata of exported files: the JSON of a `ModelMetadata` in the entry `secam_onnx` of `metadata_props`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from secam_onnx.classifier.metadata.consistency import (
    class_contradictions,
    fused_contradictions,
    head_contradictions,
)
from secam_onnx.classifier.metadata.fused_record import FusedRecord
from secam_onnx.classifier.metadata.head_record import HeadRecord
from secam_onnx.classifier.metadata.reports import Agreement, Completeness, Fidelity
from secam_onnx.errors import ModelError
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.schema import Limits, OneOf, from_json, parse_json

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["FUSED_SCHEMA", "KEY", "SCHEMA", "ModelMetadata"]

KEY = "secam_onnx"
SCHEMA = 2
FUSED_SCHEMA = 2

_AGAIN = "Export the original model again with `secam-onnx export`."
_LIMITS = Limits(depth=16)


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
    activation: Annotated[str, OneOf("none", "softmax", "log_softmax", "sigmoid")]
    head: HeadRecord
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    completeness: Completeness = field(default_factory=Completeness)
    fidelity: Fidelity = field(default_factory=Fidelity)
    fused: FusedRecord | None = None
    probabilities: str | None = None
    probability: Annotated[str, OneOf("softmax", "sigmoid", "none")] = "softmax"

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
        note = self.origin.get("probability", "")
        return f"as given: {self.probability}" if note == "as given" else note or f"{self.probability} of the logits"

    def with_agreement(self, agreement: Agreement) -> ModelMetadata:
        """The metadata of a fused model with the result of its comparison."""
        return dataclasses.replace(self, fused=self.fused and dataclasses.replace(self.fused, agreement=agreement))

    def to_json(self) -> str:
        """The text of the metadata entry."""
        body = {**dataclasses.asdict(self), "preprocessing": self.preprocessing.to_dict()}
        if self.head.attention is None:
            del body["head"]["attention"]
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
            It is not JSON, has another schema, or an entry is missing, unknown, of a wrong type, outside its range, or
            contradicts another one; the message says which.
        """
        try:
            data = _parsed(text)
            metadata = from_json(cls, data)
            for contradiction in metadata._contradictions():
                raise ValueError(contradiction)
        except ValueError as error:
            raise ModelError(f"The model's secam_onnx metadata is damaged: {error}. {_AGAIN}") from error
        return metadata

    def _contradictions(self) -> Iterator[str]:
        yield from head_contradictions(self.head)
        yield from class_contradictions(self.head, self.labels, self.fused)
        if self.activation != "none" and self.probabilities is None:
            yield f"activation is {self.activation!r}, but probabilities, which it makes, is null"
        if self.fused is not None:
            outputs = [name for name in (self.logits, self.probabilities) if name is not None]
            yield from fused_contradictions(self.fused, self.head, self.preprocessing, outputs)

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
        """Write the metadata into a model, in place.

        Raises
        ------
        ModelError
            It could not be read again.
        """
        text = self.to_json()
        self.from_json(text)
        kept = [entry for entry in model.metadata_props if entry.key != KEY]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        model.metadata_props.add(key=KEY, value=text)


def _parsed(text: str) -> dict[str, Any]:
    """The entry as a dict, after its schemas were checked and removed."""
    data = parse_json(text, _LIMITS, strict=True)
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__} where an object was expected")  # noqa: TRY004
    fused = data.setdefault("fused", None)
    if isinstance(data.get("head"), dict):
        data["head"].setdefault("attention", None)
    if isinstance(fused, dict) and (found := _version(fused, "fused")) != FUSED_SCHEMA:
        raise ModelError(
            f"The fused model has schema {found}; this version reads {FUSED_SCHEMA}. Fuse the original model again "
            "with `secam-onnx export --fused`."
        )
    if (found := _version(data)) != SCHEMA:
        raise ModelError(f"The model's secam_onnx metadata has schema {found}; this version reads {SCHEMA}. {_AGAIN}")
    return data


def _version(data: dict[str, Any], where: str = "it") -> int:
    if "schema" not in data:
        raise ValueError(f"{where} has no schema")
    return from_json(int, data.pop("schema"), "schema")
