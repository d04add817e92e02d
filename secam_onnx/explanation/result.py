"""The result of an explanation: numbers that add up to the logit, pictures and files."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from secam_onnx.arguments import checked
from secam_onnx.completeness import TOLERANCE, completeness_error
from secam_onnx.errors import ClassError, OptionError
from secam_onnx.explanation.no_place import no_place
from secam_onnx.explanation.overlays import KINDS, heat_overlay, kept_overlay, map_on_image, segments_on_image
from secam_onnx.explanation.panel import TILE, compose, drawable
from secam_onnx.explanation.prediction import Prediction, signed
from secam_onnx.explanation.saving import picture_stem, save_folder
from secam_onnx.labels.queries import ClassQuery, class_name, find_class
from secam_onnx.photograph.preprocessing import Geometry
from secam_onnx.shown_text import shown_name
from secam_onnx.superpixels.selection import Selection

__all__ = ["Explanation"]

SCHEMA = 2
"""Of `explanation.json`; 1 had other names."""

_PANELS = 10  # in a notebook


@dataclass(frozen=True, eq=False)
class Explanation:
    """SeCAM of one photograph for K classes, with S superpixels and a feature map of h x w cells.

    For each class, `cam.sum() + bias` and `segment_contributions.sum() + bias` equal the logit up to `gap`, which is
    float rounding where the head is piecewise linear.

    Attributes
    ----------
    image : ndarray
        `(H, W, 3)` uint8, the upright photograph, or the channels of another kind of image that are shown. It is
        `(0, 0, 3)` where it was not kept; then no pictures can be drawn.
    geometry : Geometry
        Where the model's input lies on the photograph.
    predictions : tuple of Prediction
        The highest classes, best first.
    classes : tuple of Prediction
        The K classes that are explained.
    cam : ndarray
        `(K, h, w)` float32, signed: what each cell of the feature map adds to the logit.
    segments : ndarray
        `(rows, columns)` int32, the label map at the model's input size, labels 0..S-1.
    segment_scores : ndarray
        `(K, S)` float32, mean of the map on each superpixel: the SeCAM value.
    segment_contributions : ndarray
        `(K, S)` float32, what each superpixel adds to the logit.
    bias : ndarray
        `(K,)` float32, the part of the logit that comes from no superpixel.
    given_segment_ids : ndarray or None
        `(S,)`, the number of each superpixel in the label map that was given, masked for padding outside it; None
        where none was given.
    selection : Selection
        Which superpixels the pictures keep.
    method : dict
        How the result was made: model, head, feature map, superpixels, preprocessing, providers.
    timings : dict
        Milliseconds of each step; for a batch, its time divided by its size.
    labels : tuple of str or None
        Names of all classes of the model; None if they are unknown.
    """

    image: np.ndarray
    geometry: Geometry
    predictions: tuple[Prediction, ...]
    classes: tuple[Prediction, ...]
    cam: np.ndarray
    segments: np.ndarray
    segment_scores: np.ndarray
    segment_contributions: np.ndarray
    bias: np.ndarray
    given_segment_ids: np.ndarray | None = None
    selection: Selection = field(default_factory=Selection)
    method: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for array in (self.image, self.cam, self.segments, self.segment_scores, self.segment_contributions, self.bias):
            array.flags.writeable = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    @property
    def completeness_error(self) -> float:
        """The largest relative `|sum(segment_contributions) + bias - logit|` of the classes; see `completeness`."""
        logits = np.array([entry.logit for entry in self.classes])
        return completeness_error(self.segment_contributions, self.bias, logits)

    @property
    def gap(self) -> np.ndarray:
        """`(K,)` `logit - sum(segment_contributions) - bias`: the part that a nonlinear head leaves unexplained."""
        logits = np.array([entry.logit for entry in self.classes])
        return logits - self.segment_contributions.sum(axis=1, dtype=np.float64) - self.bias

    @property
    def bias_share(self) -> np.ndarray:
        """`(K,)` float64, the bias as a share of the logit, which may be negative or above 1; NaN for a logit of 0."""
        logits = np.array([entry.logit for entry in self.classes])
        return np.divide(self.bias, logits, out=np.full(len(logits), np.nan), where=logits != 0)

    @checked("class_")
    def no_place(self, class_: ClassQuery | None = None) -> str:
        """Say how much of a class's logit belongs to no place, for a transformer; empty for other networks.

        Parameters
        ----------
        class_ : int or str, optional
            Index or name of an explained class; the first one by default.

        Raises
        ------
        ClassError
            The class was not explained.
        """
        row = self._row(class_)
        return no_place(self.bias[row], self.classes[row].logit) if self._of_attention else ""

    @property
    def _of_attention(self) -> bool:
        return "attention_blocks" in self.method

    @property
    def padding(self) -> np.ndarray:
        """`(S,)` bool, which superpixels lie entirely in padding that the model saw around the photograph."""
        padding = np.ones(self.segment_scores.shape[1], dtype=bool)
        padding[self.segments[self.geometry.on_image()]] = False
        return padding

    @checked("class_")
    def keep(self, class_: ClassQuery | None = None, selection: Selection | None = None) -> np.ndarray:
        """Tell which superpixels are kept, `(S,)` bool. Parameters as in `mask`."""
        row = self._row(class_)
        return (selection or self.selection).keep(self.segment_scores[row], self.segment_contributions[row])

    @checked("class_")
    def mask(self, class_: ClassQuery | None = None, selection: Selection | None = None) -> np.ndarray:
        """Mask the photograph with the kept superpixels.

        Parameters
        ----------
        class_ : int or str, optional
            Index or name of an explained class; the first one by default.
        selection : Selection, optional
            Which superpixels to keep; the explanation's own rule by default.

        Returns
        -------
        ndarray
            `(H, W)` bool at the photograph's size; False where the model did not see the photograph.

        Raises
        ------
        ClassError
            The class was not explained.
        """
        kept = np.append(self.keep(class_, selection), False)
        return kept[segments_on_image(self.segments, self.geometry)]

    @checked("class_")
    def overlay(
        self, class_: ClassQuery | None = None, selection: Selection | None = None, *, kind: str = "superpixels"
    ) -> Image.Image:
        """Draw one picture at the photograph's size.

        Parameters
        ----------
        class_, selection
            As in `mask`.
        kind : {'superpixels', 'heatmap', 'cam'}
            The kept superpixels, with the rest darkened; the score of every superpixel; the class activation map.

        Raises
        ------
        ClassError
            The class was not explained.
        OptionError
            The kind is unknown, or the photograph was not kept.
        """
        self._check_image()
        if kind not in KINDS:
            raise OptionError(f"Unknown kind of picture {kind!r}; choose from {', '.join(KINDS)}.")
        row = self._row(class_)
        if kind == "superpixels":
            segments = segments_on_image(self.segments, self.geometry)
            return Image.fromarray(kept_overlay(self.image, segments, self.keep(class_, selection)))
        if kind == "heatmap":
            segments = segments_on_image(self.segments, self.geometry)
            values = np.append(self.segment_scores[row], np.float32(np.nan))[segments]
        else:
            values = map_on_image(self.cam[row], self.geometry)
        return Image.fromarray(heat_overlay(self.image, values, self._limit(row)))

    @checked("class_")
    def panel(self, class_: ClassQuery | None = None, selection: Selection | None = None) -> Image.Image:
        """Draw all three pictures side by side, with class name, numbers and colour bar. Parameters as in `mask`."""
        self._check_image()
        row, chosen = self._row(class_), selection or self.selection
        entry, kept = self.classes[row], self.keep(class_, chosen)
        how = str(chosen) if kept.any() else "nothing speaks for this class"
        padded = kept & self.padding
        captions = (f"{kept.sum()} of {len(kept)} superpixels ({how})", "mean score", "CAM")
        small = self._shrunk(2 * TILE)
        tiles = [
            (caption, np.asarray(small.overlay(entry.index, chosen, kind=kind)))
            for caption, kind in zip(captions, KINDS, strict=True)
        ]
        parts = self.segment_contributions[row]
        what = drawable(str(self.method.get("explained", "logit")))[:40]
        sure = "" if entry.probability is None else f"probability {entry.probability:.3f}   "
        subtitle = (
            f"{sure}{what} {signed(entry.logit)} = kept {signed(parts[kept].sum())}"
            f" + rest {signed(parts[~kept].sum())} + bias {signed(self.bias[row])}"
        )
        if self.completeness_error > TOLERANCE:
            subtitle += f" + gap {signed(self.gap[row])}"
        if padded.any():
            subtitle += f"   (in the padding, not drawn: {padded.sum()} kept, {signed(parts[padded].sum())})"
        name = entry.label if entry.label == class_name(None, entry.index) else f"{entry.label} ({entry.index})"
        notes = [f"{self.no_place(entry.index)}. Map: {self.method['attribution']}."] if self._of_attention else []
        return compose(name, subtitle, tiles, self._limit(row), f"{what} per cell", map(drawable, notes))

    def _shrunk(self, longest: int) -> Explanation:
        """Shrink the photograph to this longest side, in pixels, so that small pictures are drawn fast."""
        height, width = self.geometry.image_size
        scale = longest / max(height, width)
        if scale >= 1:
            return self
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(Image.fromarray(self.image).resize(size, Image.Resampling.BOX, reducing_gap=2))
        left, top, right, bottom = self.geometry.box
        across, down = size[0] / width, size[1] / height
        box = (left * across, top * down, right * across, bottom * down)
        geometry = Geometry((size[1], size[0]), self.geometry.input_size, box)
        return dataclasses.replace(self, image=image, geometry=geometry)

    def to_dict(self) -> dict[str, Any]:
        """Give all numbers but those of pixels and cells, as plain JSON types: the content of `explanation.json`."""
        classes, padding = [], self.padding
        for row, entry in enumerate(self.classes):
            kept = self.selection.keep(self.segment_scores[row], self.segment_contributions[row])
            columns = (self.segment_scores[row], self.segment_contributions[row], kept, padding)
            superpixels: list[dict[str, Any]] = [
                {"segment_id": number, "score": score, "contribution": contribution, "kept": keep, "in_padding": padded}
                for number, (score, contribution, keep, padded) in enumerate(
                    zip(*(column.tolist() for column in columns), strict=True)
                )
            ]
            if self.given_segment_ids is not None:
                for entry_, given in zip(superpixels, self.given_segment_ids.tolist(), strict=True):
                    entry_["given_segment_id"] = given
            numbers: dict[str, float | None] = {"bias": float(self.bias[row]), "gap": float(self.gap[row])}
            if self._of_attention:
                share = float(self.bias_share[row])
                numbers["bias_share"] = None if math.isnan(share) else share
            classes.append({**vars(entry), **numbers, "superpixels": superpixels})
        return {
            "schema": SCHEMA,
            "predictions": [dict(vars(entry)) for entry in self.predictions],
            "classes": classes,
            "completeness_error": self.completeness_error,
            "method": dict(self.method),
            "selection": {name: value for name, value in vars(self.selection).items() if value is not None}
            or {"coverage": self.selection.effective_coverage},
            "geometry": self.geometry.to_dict(),
            "timings_ms": {name: round(value, 3) for name, value in self.timings.items()},
        }

    @checked()
    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        pictures: int | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write a folder that appears whole: panel and single PNGs of each class, `explanation.json`, `arrays.npz`.

        Parameters
        ----------
        folder : path
            A folder that does not exist yet or is empty, or one that an earlier `save` wrote, which is replaced.
        pictures : int, optional
            Draw at most this many classes, those with the highest logits; the numbers are written for all.
        notes : mapping, optional
            Further entries of `explanation.json`, as JSON types.

        Returns
        -------
        Path
            `folder`.

        Raises
        ------
        OutputError
            The folder holds other files, cannot be written, or the disk is full.
        OptionError
            Pictures are wanted, but the photograph was not kept.
        """
        return save_folder(folder, {**(notes or {}), **self.to_dict()}, self._arrays(), self._pictures(pictures))

    def _arrays(self) -> dict[str, Any]:
        arrays = {
            "class_ids": np.array([entry.index for entry in self.classes], dtype=np.int64),
            "class_logits": np.array([entry.logit for entry in self.classes], dtype=np.float32),
            "cam": self.cam,
            "segments": self.segments,
            "segment_scores": self.segment_scores,
            "segment_contributions": self.segment_contributions,
            "bias": self.bias,
            "image_size": np.array(self.geometry.image_size),
            "input_size": np.array(self.geometry.input_size),
            "box": np.array(self.geometry.box),
        }
        if self.given_segment_ids is not None:
            arrays["given_segment_ids"] = np.ma.getdata(self.given_segment_ids)
        return arrays

    def _pictures(self, classes: int | None) -> Iterator[tuple[str, Image.Image]]:
        """Draw the classes with the highest logits, one picture at a time, under the names of their files."""
        for entry in sorted(self.classes, key=lambda entry: -entry.logit)[:classes]:
            stem = picture_stem(entry)
            yield f"{stem}-panel", self.panel(entry.index)
            for kind in KINDS:
                yield f"{stem}-{kind}", self.overlay(entry.index, kind=kind)

    def _repr_html_(self) -> str | None:
        """The panels of the explained classes, at most ten, for notebooks."""
        if not self.image.size:
            return None
        parts = []
        for entry in self.classes[:_PANELS]:
            buffer = io.BytesIO()
            self.panel(entry.index).save(buffer, format="PNG")
            data = base64.b64encode(buffer.getvalue()).decode()
            parts.append(
                f'<p><img src="data:image/png;base64,{data}" alt="{html.escape(shown_name(entry.label))}"></p>'
            )
        if len(self.classes) > _PANELS:
            parts.append(f"<p>{_PANELS} of {len(self.classes)} classes; <code>panel(CLASS)</code> draws any.</p>")
        return "\n".join(parts)

    def __repr__(self) -> str:
        found = ", ".join(map(str, self.classes[:3]))
        more = f" and {len(self.classes) - 3} more" if len(self.classes) > 3 else ""
        count, head = self.segment_scores.shape[1], shown_name(str(self.method.get("head", "?")))
        return f"<Explanation of {found}{more}: {count} superpixels, {head}>"

    def _row(self, class_: ClassQuery | None) -> int:
        if class_ is None:
            return 0
        rows = {entry.index: row for row, entry in enumerate(self.classes)}
        names = self.labels or [class_name(None, index) for index in range(1 + max(rows))]
        index = find_class(class_, names, len(names))
        if index in rows:
            return rows[index]
        known = ", ".join(f"{entry.label!r} ({entry.index})" for entry in self.classes[:10])
        raise ClassError(f"Class {class_!r} is not among the explained ones: {known}. Explain that class first.")

    def _check_image(self) -> None:
        if not self.image.size:
            raise OptionError("The photograph was not kept, so no pictures can be drawn; use keep_images=True.")

    def _limit(self, row: int) -> float:
        return float(np.abs(self.cam[row]).max())
