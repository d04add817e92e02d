"""From a photograph to the model's input, and where that input lies on the photograph.

A `Preprocessing` travels inside the model file. `crop` gives the picture that the model sees (uint8, at the model's
size) with its `Geometry`; `normalise` makes the input tensor from it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from secam_onnx.arguments import check_fields
from secam_onnx.photograph.fit_settings import by_text, fit_settings
from secam_onnx.photograph.geometry import Geometry
from secam_onnx.photograph.images import luma
from secam_onnx.photograph.preprocessing_fields import check_channels, check_values
from secam_onnx.photograph.preprocessing_settings import IMAGE_SETTINGS, PreprocessingSettings, preset
from secam_onnx.photograph.resize_and_crop import pad, resize_and_crop

__all__ = ["Geometry", "Preprocessing"]


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph to the model's input tensor: resize, centre crop, `(pixel - mean) / std`.

    Attributes
    ----------
    size : (int, int)
        Height and width of the model's input, in pixels.
    resize_to : int or (int, int) or 'letterbox' or None
        Length of the photograph's shorter side before the centre crop, or the height and width to which the whole
        photograph is stretched before it. None stretches the whole photograph to `size`; `'letterbox'` fits all of it
        inside and pads the rest.
    interpolation : {'bilinear', 'bicubic', 'nearest', 'lanczos', 'box', 'hamming'}
        Pillow's antialiased filters, which torchvision uses too.
    mean, std : tuple of float
        One value per input channel, for pixels in 0..255, in `channel_order`.
    layout : {'NCHW', 'NHWC'}
        Axes of the input tensor.
    channel_order : {'RGB', 'BGR'}
        Order of the input's channels, if there are three.
    crop_rounding : {'even', 'down'}
        Which way half a pixel goes if the crop cannot lie in the middle: to the even number, as in torchvision and
        timm, or up and to the left, as in Hugging Face's transformers and always with a letterbox.
    value_range : (float, float) or None
        Values of the image that stand for 0 and 255; other values follow the same line. None: what the image's type or
        file says.
    channels : tuple of int or None
        Which channels of an image the model gets, counted from 1. None: all, and there must be as many as it takes.
    display_channels : tuple of int or None
        Which channels, three or one, pictures show and superpixels are made of. None: the first three that the model
        gets, or if it gets fewer, the first one as grey.
    pad_color : tuple of float or None
        Colour of a letterbox's padding, in 0..255: red, green and blue, one value per channel, or one number.
    """

    size: tuple[int, int]
    resize_to: int | tuple[int, int] | Literal["letterbox"] | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    std: tuple[float, ...] = (0.229 * 255, 0.224 * 255, 0.225 * 255)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    channel_order: Literal["RGB", "BGR"] = "RGB"
    crop_rounding: Literal["even", "down"] = "even"
    value_range: tuple[float, float] | None = None
    channels: tuple[int, ...] | None = None
    display_channels: tuple[int, ...] | None = None
    pad_color: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_values(self)

    @classmethod
    def from_settings(
        cls,
        settings: PreprocessingSettings,
        size: tuple[int | None, int | None] = (None, None),
        layout: Literal["NCHW", "NHWC"] = "NCHW",
        n_channels: int = 3,
    ) -> Preprocessing:
        """Fit settings to a model's input. What they leave open is done as in torchvision, at 224 x 224 pixels.

        With another number of channels than three, values are scaled to 0..1 and the whole picture is used.

        Parameters
        ----------
        settings : PreprocessingSettings
            What is known.
        size : (int or None, int or None)
            Height and width of the model's input; None if it takes any.
        layout : {'NCHW', 'NHWC'}
            Axes of the model's input.
        n_channels : int
            Number of channels of the model's input.

        Raises
        ------
        OptionError
            The settings are for another size, layout or number of channels, or outside their range.
        """
        return cls(**fit_settings(settings, size, layout, n_channels))

    @classmethod
    def preset(
        cls,
        name: str,
        size: tuple[int | None, int | None] = (None, None),
        layout: Literal["NCHW", "NHWC"] = "NCHW",
        **changes: Any,
    ) -> Preprocessing:
        """One of `PRESETS`, fitted to a model's input, with changes.

        Raises
        ------
        OptionError
            There is no preset of that name.
        """
        return cls.from_settings(PreprocessingSettings(**changes).with_defaults(preset(name)), size, layout)

    @property
    def n_channels(self) -> int:
        """Number of channels of the model's input."""
        return len(self.mean)

    def with_image_settings(self, settings: PreprocessingSettings) -> Preprocessing:
        """A copy for other images: the `IMAGE_SETTINGS` that are given replace its own.

        Raises
        ------
        OptionError
            The settings do not fit the model.
        """
        check_channels(settings.channels, self.n_channels)
        own = {name: getattr(settings, name) for name in IMAGE_SETTINGS if getattr(settings, name) is not None}
        return dataclasses.replace(self, **own)

    @property
    def picture_channels(self) -> int:
        """Number of channels of what `crop` and `normalise` take; three for a model of one channel."""
        return 3 if self.n_channels == 1 else self.n_channels

    @property
    def takes_rgb(self) -> bool:
        """Whether 8-bit RGB is all that the model needs."""
        return self.n_channels in (1, 3) and not (self.value_range or self.channels or self.display_channels)

    def settings(self, source: str = "") -> PreprocessingSettings:
        """The same as settings, so that some can be changed; `source` says where they come from."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        if self.resize_to == "letterbox":
            values |= {"resize_to": None, "fit": "letterbox"}
        return PreprocessingSettings(**values, crop="none" if self.resize_to is None else None, source=source)

    def __str__(self) -> str:
        way = f"whole picture to {by_text(self.size)}"
        if isinstance(self.resize_to, int):
            way = f"shorter side to {self.resize_to}, centre crop {by_text(self.size)}"
        elif self.resize_to == "letterbox":
            color = ", ".join(f"{value:g}" for value in self.pad_color or ())
            way = f"whole picture fitted inside {by_text(self.size)}, the rest padded with {color}"
        elif self.resize_to is not None:
            way = f"whole picture to {by_text(self.resize_to)}, centre crop {by_text(self.size)}"
        mean, std = map(_listed, (self.mean, self.std))
        colours = {1: "grey", 3: self.channel_order}.get(self.n_channels, f"{self.n_channels} channels")
        if self.channels is not None:
            colours = f"channels {', '.join(map(str, self.channels))} of the image"
        scale = "0..255"
        if self.value_range is not None:
            scale = f"{self.value_range[0]:g}..{self.value_range[1]:g} brought to 0..255"
        return (
            f"{way} ({self.interpolation}), (pixel - mean) / std of {scale} with mean {mean} and std {std}, "
            f"{colours}, {self.layout}"
        )

    def crop(self, image: np.ndarray) -> tuple[np.ndarray, Geometry]:
        """The picture that the model sees.

        Parameters
        ----------
        image : ndarray
            `(H, W, 3)` uint8, RGB; or `(H, W, C)` of any type.

        Returns
        -------
        seen : ndarray
            `(h, w, 3)` uint8, RGB, at the model's size; or `(h, w, C)` float32, not rounded.
        geometry : Geometry
            Where it lies on the photograph.
        """
        even = self.crop_rounding == "even" and self.resize_to != "letterbox"
        seen, geometry = resize_and_crop(image, self.size, self.resize_to, self.interpolation, round_to_even=even)
        return (seen if self.pad_color is None else pad(seen, geometry, self.pad_color)), geometry

    @property
    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """The factor and the summand of normalisation, `(C,)` float32 each, in `channel_order`."""
        scale = 1 / np.asarray(self.std, dtype=np.float64)
        return scale.astype(np.float32), (-np.asarray(self.mean, dtype=np.float64) * scale).astype(np.float32)

    def normalise(self, seen: np.ndarray) -> np.ndarray:
        """The model's input tensor for one picture.

        Parameters
        ----------
        seen : ndarray
            `(h, w, 3)` uint8, RGB, as `crop` returns it; a model of one channel gets the luma. Or `(h, w, C)`.

        Returns
        -------
        ndarray
            `(1, C, h, w)` or `(1, h, w, C)` float32.
        """
        scale, shift = self.scale_and_shift
        if self.n_channels == 1 and seen.shape[2] == 3:
            seen = luma(seen)
        channels = seen[..., ::-1] if self.channel_order == "BGR" else seen
        # In long runs: NumPy is ten times slower where three factors alternate.
        if self.layout == "NCHW":
            values = np.ascontiguousarray(channels.transpose(2, 0, 1)) * scale[:, None, None]
            values += shift[:, None, None]
            return values[None]
        width = seen.shape[1]
        rows = np.ascontiguousarray(channels).reshape(len(seen), -1) * np.tile(scale, width)
        rows += np.tile(shift, width)
        return rows.reshape(1, *seen.shape)

    def to_dict(self) -> dict[str, Any]:
        """As a dict of JSON's types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


def _listed(values: tuple[float, ...]) -> str:
    same = len(values) != 3 and len(set(values)) == 1  # people expect to see three
    return ", ".join(f"{value:.6g}" for value in (values[:1] if same else values))
