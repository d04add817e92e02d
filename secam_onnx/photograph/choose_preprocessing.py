"""Choosing the preprocessing of a model.

In this order: what the user gives, the file's own metadata, the files beside it, what the graph begins with, and
torchvision's settings. An input of integers takes pixels as they are, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from secam_onnx.errors import ModelError, OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.photograph.model_input import ImageInput, image_input
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_fields import check_channel_order
from secam_onnx.photograph.preprocessing_settings import (
    ASSUMED,
    ASSUMED_OTHER_CHANNELS,
    PRESETS,
    PreprocessingSettings,
    preset,
)

if TYPE_CHECKING:
    from secam_onnx.photograph.graph_preprocessing.recognise import GraphPreprocessing

__all__ = ["check_preprocessing", "choose_preprocessing", "input_for"]

_PRESETS = {"pixels": "raw", "unit": "unit"}
_MADE_FOR = {"pixels": "pixels of 0..255", "unit": "pixels divided by 255"}
_FED = {"pixels": "raw pixels are fed", "unit": "pixels divided by 255 are fed"}
_NEAR = 0.1  # how far the ends may differ, as a share of the range


def input_for(graph: Graph, preprocessing: Preprocessing | PreprocessingSettings | str | None) -> ImageInput:
    """The model's image input; where the graph leaves its axes open, they are those of the preprocessing.

    Raises
    ------
    ModelError
        See `image_input`.
    """
    if preprocessing is None or isinstance(preprocessing, str):
        return image_input(graph)
    return image_input(graph, preprocessing.layout, preprocessing.n_channels)


def choose_preprocessing(
    graph: Graph,
    input_: ImageInput,
    wanted: Preprocessing | PreprocessingSettings | str | None,
    file: Path | None = None,
) -> tuple[Preprocessing, dict[str, str]]:
    """The preprocessing for a model's input, and how it was chosen.

    Parameters
    ----------
    graph : Graph
        The model, whose metadata and first nodes are read.
    input_ : ImageInput
        The model's input.
    wanted : Preprocessing, PreprocessingSettings, str or None
        The whole preprocessing; or settings or a preset's name, to be fitted to the input (224 x 224 if it takes any).
    file : Path, optional
        Where the model lies, if the files beside it may be read.

    Returns
    -------
    preprocessing : Preprocessing
        Fits the input.
    origin : dict of str to str
        For the metadata: `preprocessing`, how it was chosen, and where they apply `graph_begins_with` and
        `preprocessing_warning`.

    Raises
    ------
    ModelError
        It makes another layout or size than the model takes, or the metadata or a file beside the model asks for
        something that is not supported.
    OptionError
        There is no such preset, or the settings do not fit the model's input.
    """
    # Exported and fused files, whose metadata says all, are opened without this import.
    from secam_onnx.photograph.graph_preprocessing.recognise import recognise_preprocessing

    beginning = recognise_preprocessing(graph, input_.name, input_.axes, input_.channels)
    origin = {"graph_begins_with": str(beginning)} if beginning.steps else {}
    if isinstance(wanted, Preprocessing):
        chosen, note = wanted, ""
    else:
        settings = preset(wanted) if isinstance(wanted, str) else wanted or PreprocessingSettings()
        if input_.whole_numbers:
            _check_raw(input_, settings.mean, settings.std)
        check_channel_order(settings.channel_order, input_.channels)
        settings = _filled_up(graph, input_, settings, beginning, file)
        chosen = Preprocessing.from_settings(settings, input_.size, input_.layout, input_.channels)
        note = origin["preprocessing"] = settings.source or "as given"
    check_preprocessing(input_, chosen)
    warning = _contradiction(beginning, chosen, note)
    return chosen, origin | ({"preprocessing_warning": warning} if warning else {})


def _filled_up(
    graph: Graph, input_: ImageInput, settings: PreprocessingSettings, beginning: GraphPreprocessing, file: Path | None
) -> PreprocessingSettings:
    """The user's settings; the rest from the file, the files beside it, or the graph."""
    from secam_onnx.photograph.sidecars.beside_model import preprocessing_beside
    from secam_onnx.photograph.sidecars.metadata_props import preprocessing_inside

    if not settings.complete:
        inside = preprocessing_inside({entry.key: entry.value for entry in graph.model.metadata_props})
        settings = settings if inside is None else settings.with_defaults(inside)
    if not settings.complete:
        found, note = (None, "") if file is None else preprocessing_beside(file)
        settings = settings.with_defaults(found or _assumed(input_, settings, beginning, note))
    raw = PRESETS["raw"]
    if input_.whole_numbers and (any(settings.mean or ()) or any(value != 1 for value in settings.std or ())):
        source = f"the input is {input_.dtype_name}: raw pixels; the rest {settings.source}"
        return replace(settings, mean=raw.mean, std=raw.std, source=source)
    return settings


def _assumed(
    input_: ImageInput, known: PreprocessingSettings, beginning: GraphPreprocessing, note: str
) -> PreprocessingSettings:
    """What is assumed where nothing is stated; the source gives the reasons."""
    values = known.mean is None and known.std is None
    assumed = ASSUMED if input_.channels == 3 else ASSUMED_OTHER_CHANNELS
    reasons, changes = [], dict[str, object]()
    if input_.whole_numbers:
        scale = PRESETS["raw"]
        reasons.append(f"the input is {input_.dtype_name}: raw pixels")
    elif beginning.expects and values:
        scale = PRESETS[_PRESETS[beginning.expects]]
        reasons.append(f"the graph begins with {beginning}: {_FED[beginning.expects]}")
    else:
        scale = assumed
    if beginning.channel_order == "BGR" and known.channel_order is None and scale is not assumed:
        changes["channel_order"] = "BGR"
        reasons.append("its means are those of blue, green and red: BGR")
    if beginning.size is not None and input_.size == (None, None):
        changes["size"] = beginning.size
    if scale is assumed and values:
        source = assumed.source
    elif assumed is ASSUMED_OTHER_CHANNELS:
        source = "assumed: the whole picture, since the file does not say"
    else:
        source = "assumed: torchvision's crop and filter, since the file does not say"
    source = "; ".join([source, *reasons, *filter(None, [note])])
    return replace(assumed, mean=scale.mean, std=scale.std, source=source, **changes)  # type: ignore[arg-type]


def check_preprocessing(input_: ImageInput, wanted: Preprocessing) -> None:
    """Make sure that a model can be fed what a preprocessing makes.

    Raises
    ------
    ModelError
        It makes another layout, size or number of channels than the model takes.
    OptionError
        The model takes integers, but the preprocessing has a mean or a std.
    """
    fits = all(own in (None, made) for own, made in zip(input_.size, wanted.size, strict=True))
    if input_.layout != wanted.layout or input_.channels != wanted.n_channels or not fits:
        raise ModelError(
            f"The model's input {input_.name!r} is {input_.layout} of size {input_.size} with {input_.channels} "
            f"channels, but the preprocessing makes {wanted.layout} of size {wanted.size} with {wanted.n_channels}; "
            "give the one that fits."
        )
    if input_.whole_numbers:
        _check_raw(input_, wanted.mean, wanted.std)


def _check_raw(input_: ImageInput, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """Integers are pixels: with a mean or a std, almost nothing would be left after rounding."""
    if any(mean or ()) or any(value != 1 for value in std or ()):
        shown = ", ".join(
            f"{name} {', '.join(f'{value:.6g}' for value in values)}"
            for name, values in (("mean", mean), ("std", std))
            if values
        )
        raise OptionError(
            f"The model's input {input_.name!r} is {input_.dtype_name}: it takes raw pixels, 0..255, and nothing else. "
            f"The preprocessing that was asked for, {shown} of pixels in 0..255, cannot be fed to it; use --preprocess "
            'raw (preprocessing="raw" in Python), or leave mean and std out.'
        )


def _contradiction(beginning: GraphPreprocessing, chosen: Preprocessing, note: str) -> str:
    """The warning where a step is done twice, outside the graph and in it, or not at all; otherwise empty.

    This is not an error: some networks were trained that way by mistake, and then it is right.
    """
    if not beginning.expects or len(chosen.mean) != len(beginning.mean):
        return ""
    top = 255.0 if beginning.expects == "pixels" else 1.0
    fed = (np.array([[0.0], [255.0]]) - chosen.mean) / chosen.std
    if np.abs(fed - [[0.0], [top]]).max() <= _NEAR * top:
        return ""
    kept = fed if beginning.keeps is None else np.clip(fed, *beginning.keeps)
    made, meant = (
        (values - np.array(beginning.mean)) / np.array(beginning.std) for values in (kept, np.array([[0.0], [top]]))
    )
    return (
        f"The graph begins with {beginning}, which is made for {_MADE_FOR[beginning.expects]} and turns them "
        f"into {_range(meant)}. The preprocessing{f' ({note})' if note else ''} feeds it {_range(fed)}, which it turns "
        f"into {_range(made)}. Unless the network was trained so, --preprocess {_PRESETS[beginning.expects]} is right."
    )


def _range(values: np.ndarray) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"
