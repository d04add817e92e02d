"""What the network is fed, and where that lies on the photograph.

A `Preprocessing` travels inside the model file. `crop` is the picture that the model sees (uint8, at the model's size)
with its `Geometry`; `normalise` makes the input tensor of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from secam_onnx.arguments import check_fields
from secam_onnx.errors import OptionError
from secam_onnx.photograph.geometry import Geometry
from secam_onnx.photograph.images import LUMA, luma
from secam_onnx.photograph.preprocessing_settings import (
    ASSUMED_OF_DATA,
    INTERPOLATIONS,
    MAX_CHANNELS,
    OF_IMAGES,
    PRESETS,
    PreprocessingSettings,
    is_color,
    preset,
)

__all__ = ["Geometry", "Preprocessing"]

_FILTERS = {name: Image.Resampling[name.upper()] for name in INTERPOLATIONS}


def _by(size: tuple[int | None, ...]) -> str:
    return " x ".join("any" if edge is None else str(edge) for edge in size)


_EXPECTED = {
    "size": "a height and a width of 1 to 8192 pixels",
    "resize_to": "None, 'letterbox', a length of at least the size, or two",
    "interpolation": f"one of {', '.join(INTERPOLATIONS)}",
    "mean": f"a finite number for each channel (1 to {MAX_CHANNELS}), as many as of std,",
    "std": "a finite number above 0 for each channel",
    "layout": "NCHW or NHWC",
    "channel_order": "RGB, or of three channels BGR,",
    "crop_rounding": "even or down",
    "value_range": "two finite numbers, the lower first,",
    "channels": "a number for each channel of the model, counted from 1,",
    "display_channels": "one channel or three, counted from 1,",
    "pad_color": "with resize_to 'letterbox' one number of 0..255 or one for each channel, else None,",
}


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph to the model's input tensor: resize, centre crop, `(pixel - mean) / std`.

    Attributes
    ----------
    size : (int, int)
        Height and width of the model's input, in pixels.
    resize_to : int or (int, int) or 'letterbox' or None
        Length of the photograph's shorter side before the centre crop, or height and width that the whole photograph
        is stretched to before it; None stretches the whole photograph to `size`, `'letterbox'` fits all of it inside
        and pads the rest.
    interpolation : {'bilinear', 'bicubic', 'nearest', 'lanczos', 'box', 'hamming'}
        Pillow's antialiased filters, which torchvision uses as well.
    mean, std : tuple of float
        One value per channel of the input, of pixels in 0..255, in `channel_order`.
    layout : {'NCHW', 'NHWC'}
        Axes of the input tensor.
    channel_order : {'RGB', 'BGR'}
        Order of the channels in the input tensor, where there are three.
    crop_rounding : {'even', 'down'}
        Which way half a pixel goes where the crop cannot lie in the middle: to the even number, as torchvision and timm
        do it, or up and to the left, as Hugging Face's transformers does. Padding's always goes up and to the left.
    value_range : (float, float) or None
        Values of the image that stand for 0 and 255; what lies between or beyond follows the same line. None: what the
        image's type or file says.
    channels : tuple of int or None
        Which channels of an image the model gets, counted from 1; None: all, of which there must be as many.
    display_channels : tuple of int or None
        Which of them, three or one, superpixels are made of and pictures show; None: the first three that the model
        gets, or where these are fewer, the first one, as grey.
    pad_color : tuple of float or None
        Of letterboxing alone: red, green and blue of the padding, or its values by channel, or one number; in 0..255.
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
        checks = {
            "size": len(self.size) == 2 and all(isinstance(edge, int) and 1 <= edge <= 8192 for edge in self.size),
            "resize_to": self.resize_to in (None, "letterbox") or self._is_around_the_crop(self.resize_to),
            "interpolation": self.interpolation in _FILTERS,
            "mean": 1 <= len(self.mean) == len(self.std) <= MAX_CHANNELS and bool(np.isfinite(self.mean).all()),
            "std": all(np.isfinite(value) and value > 0 for value in self.std),
            "layout": self.layout in ("NCHW", "NHWC"),
            "channel_order": self.channel_order == "RGB" or (self.channel_order == "BGR" and len(self.mean) == 3),
            "crop_rounding": self.crop_rounding in ("even", "down"),
            "value_range": self.value_range is None or _is_range(self.value_range),
            "channels": self.channels is None
            or (len(self.channels) == len(self.mean) and _are_channels(self.channels)),
            "display_channels": self.display_channels is None
            or (len(self.display_channels) in (1, 3) and _are_channels(self.display_channels)),
            "pad_color": self._is_color() if self.resize_to == "letterbox" else self.pad_color is None,
        }
        for name, good in checks.items():
            if not good:
                raise OptionError(f"Preprocessing: {name} is {getattr(self, name)!r}; {_EXPECTED[name]} was expected.")

    def _is_around_the_crop(self, edges: object) -> bool:
        both = edges if isinstance(edges, tuple) else (edges, edges)
        least = self.size if isinstance(edges, tuple) else (max(self.size),) * 2
        return len(both) == 2 and all(
            isinstance(edge, int) and low <= edge <= 16384 for edge, low in zip(both, least, strict=False)
        )

    def _is_color(self) -> bool:
        return is_color(self.pad_color) and len(self.pad_color or ()) in (1, self.picture_channels)

    @classmethod
    def fitted(
        cls,
        settings: PreprocessingSettings,
        size: tuple[int | None, int | None] = (None, None),
        layout: Literal["NCHW", "NHWC"] = "NCHW",
        n_channels: int = 3,
    ) -> Preprocessing:
        """Fit settings to a model's input; what they leave open is as torchvision does it, the size 224 x 224.

        Of other than three channels, values are brought to 0..1 and the whole picture is taken.

        Parameters
        ----------
        settings : PreprocessingSettings
            What is known.
        size : (int or None, int or None)
            Height and width of the model's input; None where it takes any.
        layout : {'NCHW', 'NHWC'}
            Axes of the model's input.
        n_channels : int
            How many it takes.

        Raises
        ------
        OptionError
            The settings are for another size, layout or number of channels, or outside their range.
        """
        wanted = settings.size or size
        source = settings.source or "as given"
        if any(None not in pair and pair[0] != pair[1] for pair in zip(size, wanted, strict=True)):
            raise OptionError(
                f"The model takes inputs of {_by(size)} (height x width), but the preprocessing ({source}) makes "
                f"{_by(wanted)}. With --size {'x'.join(str(edge or 224) for edge in size)} its other settings are used."
            )
        if settings.layout not in (None, layout):
            raise OptionError(
                f"The model's input is {layout}, but the preprocessing ({source}) makes {settings.layout}; leave the "
                "layout to the model."
            )
        rows, columns = (
            next((length for length in pair if length is not None), 224) for pair in zip(size, wanted, strict=True)
        )
        known = settings.over(PRESETS["torchvision"] if n_channels == 3 else ASSUMED_OF_DATA)
        values: dict[str, Any] = {name: getattr(known, name) for name in known.given if name not in ("crop", "fit")}
        if known.resize_to is None:
            values["resize_to"] = _shaped(known, rows, columns)
        if known.fit == "letterbox":
            values.setdefault("pad_color", (0.0,))
        elif known.pad_color is not None:
            raise OptionError("A colour of the padding was given (pad_color), which goes with fit 'letterbox' alone.")
        for name in ("mean", "std"):
            given = values[name]
            if len(given) not in (1, n_channels):
                raise OptionError(
                    f"The model takes {n_channels} channel{'s' * (n_channels > 1)}, but the preprocessing ({source}) "
                    f"has a {name} of {len(given)}; give --{name} one number for all channels, or one for each."
                )
            values[name] = given * n_channels if len(given) == 1 else given
        _check_channels(settings.channels, n_channels)
        order = "RGB" if n_channels == 1 else values["channel_order"]  # of one there is none
        return cls(**{**values, "size": (rows, columns), "layout": layout, "channel_order": order})

    @classmethod
    def preset(
        cls,
        name: str,
        size: tuple[int | None, int | None] = (None, None),
        layout: Literal["NCHW", "NHWC"] = "NCHW",
        **changes: Any,
    ) -> Preprocessing:
        """One of `settings.PRESETS`, fitted to a model's input, with changes.

        Raises
        ------
        OptionError
            Unknown name.
        """
        return cls.fitted(PreprocessingSettings(**changes).over(preset(name)), size, layout)

    @property
    def n_channels(self) -> int:
        """How many channels the model takes."""
        return len(self.mean)

    def of_images(self, settings: PreprocessingSettings) -> Preprocessing:
        """The same for other images: with the `settings.OF_IMAGES` of some settings, where they are not open.

        Raises
        ------
        OptionError
            They do not fit.
        """
        _check_channels(settings.channels, self.n_channels)
        own = {name: getattr(settings, name) for name in OF_IMAGES if getattr(settings, name) is not None}
        return dataclasses.replace(self, **own)

    @property
    def picture_channels(self) -> int:
        """How many channels the pictures have that `crop` and `normalise` take; three of a model of one."""
        return 3 if self.n_channels == 1 else self.n_channels

    @property
    def of_photographs(self) -> bool:
        """Whether ordinary pictures, 8-bit RGB, are all that it needs."""
        return self.n_channels in (1, 3) and not (self.value_range or self.channels or self.display_channels)

    def settings(self, source: str = "") -> PreprocessingSettings:
        """The same as settings, to change some of them; `source` says where they come from."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        if self.resize_to == "letterbox":
            values |= {"resize_to": None, "fit": "letterbox"}
        return PreprocessingSettings(**values, crop="none" if self.resize_to is None else None, source=source)

    def __str__(self) -> str:
        way = f"whole picture to {_by(self.size)}"
        if isinstance(self.resize_to, int):
            way = f"shorter side to {self.resize_to}, centre crop {_by(self.size)}"
        elif self.resize_to == "letterbox":
            color = ", ".join(f"{value:g}" for value in self.pad_color or ())
            way = f"whole picture fitted inside {_by(self.size)}, the rest padded with {color}"
        elif self.resize_to is not None:
            way = f"whole picture to {_by(self.resize_to)}, centre crop {_by(self.size)}"
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
        height, width = image.shape[:2]
        rows, columns = self.size
        resample = _FILTERS[self.interpolation]
        if self.resize_to is None:
            seen = _each_channel(image, lambda picture: picture.resize((columns, rows), resample))
            return seen, Geometry((height, width), self.size, (0.0, 0.0, float(width), float(height)))
        if isinstance(self.resize_to, int):
            # torchvision's rounding, so that the tensors are equal: the longer side is cut to an integer.
            edge, short = self.resize_to, min(height, width)
            new_height, new_width = (edge if side == short else int(edge * side / short) for side in (height, width))
        elif self.resize_to == "letterbox":
            share = min(rows / height, columns / width)
            new_height, new_width = (max(1, round(side * share)) for side in (height, width))
        else:
            new_height, new_width = self.resize_to
        middle = round if self.crop_rounding == "even" and self.resize_to != "letterbox" else int
        top, left = middle((new_height - rows) / 2), middle((new_width - columns) / 2)
        # As a whole: a box would be rounded, and which way is resized along first differs between versions of Pillow.
        cut = (left, top, left + columns, top + rows)
        seen = _each_channel(image, lambda picture: picture.resize((new_width, new_height), resample).crop(cut))
        across, down = width / new_width, height / new_height
        box = (left * across, top * down, (left + columns) * across, (top + rows) * down)
        geometry = Geometry((height, width), self.size, box)
        return self._padded(seen, geometry), geometry

    def _padded(self, seen: np.ndarray, geometry: Geometry) -> np.ndarray:
        """With the colour of the padding, which Pillow leaves black."""
        if self.pad_color is None or not any(self.pad_color):
            return seen
        color = np.asarray(self.pad_color)
        if len(color) == 3 and seen.shape[2] == 1:
            color = color @ LUMA[:, None] / 65536
        if len(color) not in (1, seen.shape[2]):
            return seen  # what is shown of other channels than three
        return np.where(geometry.on_image()[..., None], seen, color.astype(seen.dtype))

    @property
    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """What pixels are multiplied with, and what is added then: `(C,)` float32, in `channel_order`."""
        scale = 1 / np.asarray(self.std, dtype=np.float64)
        return scale.astype(np.float32), (-np.asarray(self.mean, dtype=np.float64) * scale).astype(np.float32)

    def normalise(self, seen: np.ndarray) -> np.ndarray:
        """The model's input tensor for one picture.

        Parameters
        ----------
        seen : ndarray
            `(h, w, 3)` uint8, RGB, as `crop` returns it, of which a model of one channel gets the luma; or `(h, w, C)`.

        Returns
        -------
        ndarray
            `(1, C, h, w)` or `(1, h, w, C)` float32.
        """
        scale, shift = self.scale_and_shift
        if self.n_channels == 1 and seen.shape[2] == 3:
            seen = luma(seen)
        channels = seen[..., ::-1] if self.channel_order == "BGR" else seen
        # In long runs: numpy is ten times as slow where three factors take turns on short ones.
        if self.layout == "NCHW":
            values = np.ascontiguousarray(channels.transpose(2, 0, 1)) * scale[:, None, None]
            values += shift[:, None, None]
            return values[None]
        width = seen.shape[1]
        rows = np.ascontiguousarray(channels).reshape(len(seen), -1) * np.tile(scale, width)
        rows += np.tile(shift, width)
        return rows.reshape(1, *seen.shape)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocessing:
        """Read what `to_dict` wrote.

        Raises
        ------
        OptionError
            A value outside its range.
        TypeError
            A key is missing or unknown.
        """
        settings: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**settings)


def _listed(values: tuple[float, ...]) -> str:
    same = len(values) != 3 and len(set(values)) == 1  # three are what people expect to see
    return ", ".join(f"{value:.6g}" for value in (values[:1] if same else values))


def _each_channel(image: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """A change by Pillow: of 8-bit RGB as it is, of anything else of one channel after the other, as floats."""
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.asarray(change(Image.fromarray(image)))
    planes = image.astype(np.float32, copy=False).transpose(2, 0, 1)
    return np.stack([np.asarray(change(Image.fromarray(np.ascontiguousarray(plane)))) for plane in planes], axis=-1)


def _check_channels(numbers: tuple[int, ...] | None, wanted: int) -> None:
    if numbers is not None and len(numbers) != wanted:
        raise OptionError(
            f"The model takes {wanted} channel{'s' * (wanted > 1)}, and {len(numbers)} were named (--channels "
            f"{','.join(map(str, numbers))}); name as many, counted from 1."
        )


def _is_range(values: tuple[float, ...]) -> bool:
    return len(values) == 2 and bool(np.isfinite(values).all()) and values[0] < values[1]


def _are_channels(numbers: tuple[int, ...]) -> bool:
    return all(isinstance(number, int) and 1 <= number <= MAX_CHANNELS for number in numbers)


def _shaped(
    known: PreprocessingSettings, rows: int, columns: int
) -> int | tuple[int, int] | Literal["letterbox"] | None:
    """`resize_to` by the share that the crop keeps and by what becomes of the photograph's shape."""
    if known.fit == "letterbox":
        return "letterbox"
    share = known.crop
    if share is None and known.fit == "crop":
        share = 0.875
    if share is None or share == "none":
        return None
    if known.fit == "stretch":
        return round(rows / share), round(columns / share)
    return round(max(rows, columns) / share)
