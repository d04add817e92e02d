"""What the network is fed, and where that lies on the photograph.

A `Preprocessing` travels inside the model file. `crop` is the picture that the model sees (uint8, at the model's size)
with its `Geometry`; `normalise` makes the input tensor of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from secam_onnx.errors import OptionError
from secam_onnx.geometry import Geometry
from secam_onnx.settings import INTERPOLATIONS, PRESETS, PreprocessingSettings, preset

__all__ = ["Geometry", "Preprocessing"]

_FILTERS = {name: Image.Resampling[name.upper()] for name in INTERPOLATIONS}


def _by(size: tuple[int | None, ...]) -> str:
    return " x ".join("any" if edge is None else str(edge) for edge in size)


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph to the model's input tensor: resize, centre crop, `(pixel - mean) / std`.

    Attributes
    ----------
    size : (int, int)
        Height and width of the model's input, in pixels.
    resize_to : int or (int, int) or None
        Length of the photograph's shorter side before the centre crop, or height and width that the whole photograph
        is stretched to before it; None stretches the whole photograph to `size`.
    interpolation : {'bilinear', 'bicubic', 'nearest', 'lanczos', 'box', 'hamming'}
        Pillow's antialiased filters, which torchvision uses as well.
    mean, std : tuple of float
        One value per channel, in 0..255, in `channel_order`.
    layout : {'NCHW', 'NHWC'}
        Axes of the input tensor.
    channel_order : {'RGB', 'BGR'}
        Order of the channels in the input tensor.
    crop_rounding : {'even', 'down'}
        Which way half a pixel goes where the crop cannot lie in the middle: to the even number, as torchvision and timm
        do it, or up and to the left, as Hugging Face's transformers does.
    """

    size: tuple[int, int]
    resize_to: int | tuple[int, int] | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    std: tuple[float, ...] = (0.229 * 255, 0.224 * 255, 0.225 * 255)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    channel_order: Literal["RGB", "BGR"] = "RGB"
    crop_rounding: Literal["even", "down"] = "even"

    def __post_init__(self) -> None:
        checks = {
            "size": len(self.size) == 2 and all(isinstance(edge, int) and 1 <= edge <= 8192 for edge in self.size),
            "resize_to": self.resize_to is None or self._is_around_the_crop(self.resize_to),
            "interpolation": self.interpolation in _FILTERS,
            "mean": len(self.mean) == 3 and bool(np.isfinite(self.mean).all()),
            "std": len(self.std) == 3 and all(np.isfinite(value) and value > 0 for value in self.std),
            "layout": self.layout in ("NCHW", "NHWC"),
            "channel_order": self.channel_order in ("RGB", "BGR"),
            "crop_rounding": self.crop_rounding in ("even", "down"),
        }
        for name, good in checks.items():
            if not good:
                raise OptionError(
                    f"Preprocessing: {name} is {getattr(self, name)!r}, which is outside its range "
                    "(sizes are positive, resize_to is at least the size, mean and std have three finite values)."
                )

    def _is_around_the_crop(self, edges: object) -> bool:
        both = edges if isinstance(edges, tuple) else (edges, edges)
        least = self.size if isinstance(edges, tuple) else (max(self.size),) * 2
        return len(both) == 2 and all(
            isinstance(edge, int) and low <= edge <= 16384 for edge, low in zip(both, least, strict=False)
        )

    @classmethod
    def fitted(
        cls,
        settings: PreprocessingSettings,
        size: tuple[int | None, int | None] = (None, None),
        layout: Literal["NCHW", "NHWC"] = "NCHW",
    ) -> Preprocessing:
        """Fit settings to a model's input; what they leave open is as torchvision does it, the size 224 x 224.

        Parameters
        ----------
        settings : PreprocessingSettings
            What is known.
        size : (int or None, int or None)
            Height and width of the model's input; None where it takes any.
        layout : {'NCHW', 'NHWC'}
            Axes of the model's input.

        Raises
        ------
        OptionError
            The settings are for another size or layout, or outside their range.
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
        known = settings.over(PRESETS["torchvision"])
        values: dict[str, Any] = {name: getattr(known, name) for name in known.given if name != "crop"}
        if known.crop is not None:
            values["resize_to"] = None if known.crop == "none" else round(max(rows, columns) / known.crop)
        return cls(**{**values, "size": (rows, columns), "layout": layout})

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

    def settings(self, source: str = "") -> PreprocessingSettings:
        """The same as settings, to change some of them; `source` says where they come from."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        return PreprocessingSettings(**values, crop="none" if self.resize_to is None else None, source=source)

    def __str__(self) -> str:
        way = f"whole picture to {_by(self.size)}"
        if isinstance(self.resize_to, int):
            way = f"shorter side to {self.resize_to}, centre crop {_by(self.size)}"
        elif self.resize_to is not None:
            way = f"whole picture to {_by(self.resize_to)}, centre crop {_by(self.size)}"
        mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (self.mean, self.std))
        return (
            f"{way} ({self.interpolation}), (pixel - mean) / std of 0..255 with mean {mean} and std {std}, "
            f"{self.channel_order}, {self.layout}"
        )

    def crop(self, image: np.ndarray) -> tuple[np.ndarray, Geometry]:
        """The picture that the model sees.

        Parameters
        ----------
        image : ndarray
            `(H, W, 3)` uint8, RGB.

        Returns
        -------
        seen : ndarray
            `(h, w, 3)` uint8, RGB, at the model's size.
        geometry : Geometry
            Where it lies on the photograph.
        """
        height, width = image.shape[:2]
        rows, columns = self.size
        resample = _FILTERS[self.interpolation]
        picture = Image.fromarray(image)
        if self.resize_to is None:
            seen = picture.resize((columns, rows), resample)
            return np.asarray(seen), Geometry((height, width), self.size, (0.0, 0.0, float(width), float(height)))
        if isinstance(self.resize_to, int):
            # torchvision's rounding, so that the tensors are equal: the longer side is cut to an integer.
            edge, short = self.resize_to, min(height, width)
            new_height, new_width = (edge if side == short else int(edge * side / short) for side in (height, width))
        else:
            new_height, new_width = self.resize_to
        middle = round if self.crop_rounding == "even" else int
        top, left = middle((new_height - rows) / 2), middle((new_width - columns) / 2)
        # As a whole: a box would be rounded, and which way is resized along first differs between versions of Pillow.
        seen = picture.resize((new_width, new_height), resample).crop((left, top, left + columns, top + rows))
        across, down = width / new_width, height / new_height
        box = (left * across, top * down, (left + columns) * across, (top + rows) * down)
        return np.asarray(seen), Geometry((height, width), self.size, box)

    @property
    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """What pixels are multiplied with, and what is added then: `(3,)` float32, in `channel_order`."""
        scale = 1 / np.asarray(self.std, dtype=np.float64)
        return scale.astype(np.float32), (-np.asarray(self.mean, dtype=np.float64) * scale).astype(np.float32)

    def normalise(self, seen: np.ndarray) -> np.ndarray:
        """The model's input tensor for one picture.

        Parameters
        ----------
        seen : ndarray
            `(h, w, 3)` uint8, RGB, as `crop` returns it.

        Returns
        -------
        ndarray
            `(1, 3, h, w)` or `(1, h, w, 3)` float32.
        """
        scale, shift = self.scale_and_shift
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
