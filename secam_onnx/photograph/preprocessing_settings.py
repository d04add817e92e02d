"""Settings of a preprocessing, some of which may be open: presets, options and files beside a model give these.

`Preprocessing.from_settings` fits them to a model's input.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from secam_onnx.arguments import check_fields
from secam_onnx.errors import OptionError

__all__ = [
    "ASSUMED",
    "ASSUMED_OTHER_CHANNELS",
    "FITS",
    "IMAGE_SETTINGS",
    "INTERPOLATIONS",
    "MAX_CHANNELS",
    "PRESETS",
    "PreprocessingSettings",
    "in_pixel_values",
    "is_color",
    "preset",
]

Values = tuple[float, ...]

MAX_CHANNELS = 512
"""The largest number of channels of an image."""

IMAGE_SETTINGS = ("value_range", "channels", "display_channels")
"""Settings that depend on the images as much as on the model, and may be given with any model."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
"""Pillow's filters by name."""

FITS = ("crop", "stretch", "letterbox")
_SHAPING = {"crop", "resize_to", "fit"}  # giving one replaces all of them


@dataclass(frozen=True)
class PreprocessingSettings:
    """What is known of a preprocessing; None means open.

    Attributes
    ----------
    size : (int, int), optional
        Height and width of the model's input, in pixels.
    crop : float or 'none', optional
        Share of the photograph's shorter side that the centre crop keeps, in (0, 1]: that side is resized to
        `size / crop`. `'none'` stretches the whole photograph to `size`.
    resize_to : int or (int, int), optional
        The same in pixels, instead of `crop`; see `Preprocessing`.
    fit : {'crop', 'stretch', 'letterbox'}, optional
        How the photograph's aspect ratio is brought to the input's. `'crop'` keeps it and cuts out the middle (0.875 of
        it unless `crop` says otherwise). `'stretch'` stretches the whole photograph to `size`, or to `size / crop`
        before the middle is cut out. `'letterbox'` fits all of it inside `size` and pads the rest.
    pad_color : tuple of float, optional
        Colour of that padding, in 0..255, black by default: red, green and blue, one value per channel, or one number.
    interpolation, mean, std, layout, channel_order, crop_rounding, value_range, channels, display_channels : optional
        See `Preprocessing`. mean and std are for pixels in 0..255 (multiply torchvision's numbers by 255): one value
        per channel, or one for all, which may be a plain number.
    source : str
        Where the settings come from, in words; empty if the user gives them.
    """

    size: tuple[int, int] | None = None
    crop: float | Literal["none"] | None = None
    resize_to: int | tuple[int, int] | None = None
    interpolation: str | None = None
    mean: Values | None = None
    std: Values | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    channel_order: Literal["RGB", "BGR"] | None = None
    crop_rounding: Literal["even", "down"] | None = None
    value_range: tuple[float, float] | None = None
    channels: tuple[int, ...] | None = None
    display_channels: tuple[int, ...] | None = None
    fit: Literal["crop", "stretch", "letterbox"] | None = None
    pad_color: tuple[float, ...] | None = None
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("mean", "std", "pad_color"):
            if isinstance(value := getattr(self, name), numbers.Real) and not isinstance(value, bool):
                object.__setattr__(self, name, (float(value),))
        check_fields(self)
        given = self.std or self.mean or ()
        if not self.source and any(given) and max(map(abs, given)) < 1:
            raise OptionError(
                f"{'std' if self.std else 'mean'} is {', '.join(map(str, given))}, which is for pixels in 0..1; values "
                "for pixels in 0..255 were expected. Multiply mean and std by 255."
            )
        if self.crop is not None and self.resize_to is not None:
            raise OptionError(f"crop {self.crop} and resize_to {self.resize_to} say the same in two ways; choose one.")
        if self.crop not in (None, "none") and not (isinstance(self.crop, float | int) and 0 < self.crop <= 1):
            raise OptionError(f"crop is {self.crop}; a fraction above 0 and at most 1, or 'none', was expected.")
        if self.fit not in (None, *FITS):
            raise OptionError(f"fit is {self.fit!r}; one of {', '.join(FITS)} was expected.")
        cut = self.resize_to if self.crop is None else self.crop
        if (self.fit == "letterbox" and cut is not None) or (self.fit == "crop" and cut == "none"):
            name = "resize_to" if self.crop is None else "crop"
            raise OptionError(f"fit is {self.fit!r}, which does not go with {name} {cut!r}; leave one out.")
        if self.pad_color is not None and not is_color(self.pad_color):
            raise OptionError(
                f"pad_color is {self.pad_color!r}; one number in 0..255, or one per channel, was expected."
            )

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the settings that are not open."""
        names = (entry.name for entry in dataclasses.fields(self) if entry.name != "source")
        return tuple(name for name in names if getattr(self, name) is not None)

    @property
    def n_channels(self) -> int | None:
        """Number of channels that the settings are for; None for any number."""
        lengths = [len(values) for values in (self.mean, self.std) if values is not None and len(values) > 1]
        return len(self.channels) if self.channels else max(lengths, default=None)

    @property
    def complete(self) -> bool:
        """Whether nothing is open except size and layout, which the model's input tells."""
        open_ = {"interpolation", "mean", "std", "channel_order"}.difference(self.given)
        return not open_ and bool(_SHAPING.intersection(self.given))

    def with_defaults(self, base: PreprocessingSettings) -> PreprocessingSettings:
        """These settings, with those of `base` where they are open.

        If only the size differs from that of `base`, the crop keeps the same share of the photograph.
        """
        crop, resize_to, fit = base.crop, base.resize_to, base.fit
        if _SHAPING.intersection(self.given):
            crop = resize_to = fit = None
        elif base.size and self.size not in (None, base.size) and isinstance(resize_to, int):
            crop, resize_to = max(base.size) / resize_to, None
        own = {name: getattr(self, name) for name in self.given}
        given = self.source or f"as given: {', '.join(name.replace('_', ' ') for name in own)}"
        source = self.source or base.source
        if own and base.source and not (self.source and self.complete):
            # All that differs between networks is given, so nothing was left for us to choose.
            enough = {"mean", "std"} <= own.keys() and not own.keys().isdisjoint(_SHAPING)
            source = f"{given}; the rest {base.source}" if enough else f"{base.source}; {given}"
        return dataclasses.replace(base, **{"crop": crop, "resize_to": resize_to, "fit": fit, **own, "source": source})


def is_color(values: tuple[float, ...] | None) -> bool:
    """Whether this is a tuple of values in 0..255."""
    return isinstance(values, tuple) and len(values) > 0 and all(0 <= value <= 255 for value in values)


def in_pixel_values(mean: Sequence[float] | None, std: Sequence[float] | None) -> tuple[Values | None, Values | None]:
    """Mean and std for pixels in 0..255, from values for pixels in 0..1 or in 0..255.

    torchvision, timm and Hugging Face write 0.485. If any value is above 1, all are taken as for pixels in 0..255.

    Parameters
    ----------
    mean, std : sequence of float or None
        One value per channel, or one for all.

    Raises
    ------
    OptionError
        There is no value, one is not finite, or a standard deviation is not positive.
    """
    scale = 1.0 if any(value > 1 for value in (*(mean or ()), *(std or ()))) else 255.0
    scaled: list[Values | None] = []
    for name, values in (("mean", mean), ("std", std)):
        if values is None:
            scaled.append(None)
            continue
        if not values or not all(map(math.isfinite, values)) or (name == "std" and min(values) <= 0):
            raise OptionError(
                f"{name} is {', '.join(map(str, values))}; a finite number per channel, or one for all, was "
                f"expected{', above 0' if name == 'std' else ''}."
            )
        scaled.append(tuple(scale * value for value in values))
    return scaled[0], scaled[1]


def _named(name: str, **settings: object) -> PreprocessingSettings:
    usual = {"crop": 0.875, "interpolation": "bilinear", "channel_order": "RGB"}
    return PreprocessingSettings(**{**usual, **settings}, source=f"preset {name}")  # type: ignore[arg-type]


PRESETS: dict[str, PreprocessingSettings] = {
    # torchvision.transforms._presets.ImageClassification
    "torchvision": _named(
        "torchvision",
        mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    # EfficientNet-Lite, tensorflow/tpu
    "lite": _named("lite", mean=(127.0,), std=(128.0,), interpolation="bicubic"),
    # keras.applications.imagenet_utils.preprocess_input, modes "caffe" and "tf"
    "keras-caffe": _named(
        "keras-caffe",
        mean=(103.939, 116.779, 123.68),
        std=(1.0,),
        channel_order="BGR",
        crop="none",
        interpolation="nearest",
    ),
    "keras-tf": _named("keras-tf", mean=(127.5,), std=(127.5,), crop="none", interpolation="nearest"),
    "unit": _named("unit", mean=(0.0,), std=(255.0,)),
    "raw": _named("raw", mean=(0.0,), std=(1.0,)),
}
"""Named settings; size and layout come from the model."""

ASSUMED = dataclasses.replace(
    PRESETS["torchvision"], source="assumed: torchvision's ImageNet settings, since the file does not say"
)
"""What is assumed if nothing says otherwise."""

ASSUMED_OTHER_CHANNELS = dataclasses.replace(
    PRESETS["unit"],
    crop="none",
    source="assumed: values brought to 0..1, the whole picture, since the file does not say",
)
"""The same for other numbers of channels than three, for which ImageNet has no mean."""


def preset(name: str) -> PreprocessingSettings:
    """One of `PRESETS`, by name.

    Raises
    ------
    OptionError
        There is no preset of that name.
    """
    if name not in PRESETS:
        raise OptionError(f"Unknown preprocessing preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
