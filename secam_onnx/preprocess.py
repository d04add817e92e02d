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

__all__ = ["PRESETS", "Geometry", "Preprocessing"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

PRESETS: dict[str, dict[str, Any]] = {
    # torchvision.transforms._presets.ImageClassification
    "torchvision": {
        "mean": (0.485 * 255, 0.456 * 255, 0.406 * 255),
        "std": (0.229 * 255, 0.224 * 255, 0.225 * 255),
    },
    # EfficientNet-Lite, tensorflow/tpu
    "lite": {"mean": (127.0,) * 3, "std": (128.0,) * 3, "interpolation": "bicubic"},
    # keras.applications.imagenet_utils.preprocess_input, modes "caffe" and "tf"
    "keras-caffe": {
        "mean": (103.939, 116.779, 123.68),
        "std": (1.0,) * 3,
        "channel_order": "BGR",
        "resize_to": None,
        "interpolation": "nearest",
    },
    "keras-tf": {"mean": (127.5,) * 3, "std": (127.5,) * 3, "resize_to": None, "interpolation": "nearest"},
    "unit": {"mean": (0.0,) * 3, "std": (255.0,) * 3},
    "raw": {"mean": (0.0,) * 3, "std": (1.0,) * 3},
}
"""Named settings; size, layout and resize_to come from the model unless a preset fixes them."""


@dataclass(frozen=True)
class Geometry:
    """Where the model's input lies on the photograph.

    Attributes
    ----------
    image_size : (int, int)
        Height and width of the photograph, in pixels.
    input_size : (int, int)
        Height and width of what the model sees, in pixels.
    box : (float, float, float, float)
        Left, top, right, bottom of what the model sees, in pixels of the photograph.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    box: tuple[float, float, float, float]

    def positions(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Which rows and columns of the photograph the model saw, and where their centres lie on what it saw.

        Returns
        -------
        rows, columns : pair of ndarray
            Indices into the photograph, int64, and positions on the model's input, fractions in [0, 1).
        """
        left, top, right, bottom = self.box
        height, width = self.image_size
        return _seen(height, top, bottom), _seen(width, left, right)

    def to_image(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Carry values from the model's input to the photograph by nearest neighbour.

        Parameters
        ----------
        values : ndarray
            `(h, w)` at the input's size.
        fill : float
            The value of pixels that the model did not see.

        Returns
        -------
        ndarray
            `(H, W)` at the photograph's size, dtype as `values`.
        """
        (rows, y), (columns, x) = self.positions()
        height, width = values.shape
        out = np.full(self.image_size, fill, dtype=values.dtype)
        out[np.ix_(rows, columns)] = values[np.ix_((y * height).astype(int), (x * width).astype(int))]
        return out

    def to_input(self, values: np.ndarray) -> np.ndarray:
        """Carry values, `(H, W)` at the photograph's size, to the model's input `(h, w)` by nearest neighbour."""
        left, top, right, bottom = self.box
        (height, width), (rows, columns) = self.image_size, self.input_size
        y = np.floor(top + (np.arange(rows) + 0.5) * (bottom - top) / rows).astype(int).clip(0, height - 1)
        x = np.floor(left + (np.arange(columns) + 0.5) * (right - left) / columns).astype(int).clip(0, width - 1)
        return values[np.ix_(y, x)]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {key: list(value) for key, value in dataclasses.asdict(self).items()}


def _seen(length: int, start: float, stop: float) -> tuple[np.ndarray, np.ndarray]:
    position = (np.arange(length) + 0.5 - start) / (stop - start)
    seen = np.flatnonzero((position >= 0) & (position < 1))
    return seen, position[seen]


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph to the model's input tensor: resize, centre crop, `(pixel - mean) / std`.

    Attributes
    ----------
    size : (int, int)
        Height and width of the model's input, in pixels.
    resize_to : int or None
        Length of the photograph's shorter side before the centre crop; None stretches the whole photograph to `size`.
    interpolation : {'bilinear', 'bicubic', 'nearest', 'lanczos'}
        Pillow's antialiased filters, which torchvision uses as well.
    mean, std : tuple of float
        One value per channel, in 0..255, in `channel_order`.
    layout : {'NCHW', 'NHWC'}
        Axes of the input tensor.
    channel_order : {'RGB', 'BGR'}
        Order of the channels in the input tensor.
    """

    size: tuple[int, int]
    resize_to: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = PRESETS["torchvision"]["mean"]
    std: tuple[float, ...] = PRESETS["torchvision"]["std"]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    channel_order: Literal["RGB", "BGR"] = "RGB"

    def __post_init__(self) -> None:
        checks = {
            "size": len(self.size) == 2 and all(isinstance(edge, int) and 1 <= edge <= 8192 for edge in self.size),
            "resize_to": self.resize_to is None
            or (isinstance(self.resize_to, int) and max(self.size) <= self.resize_to <= 16384),
            "interpolation": self.interpolation in _FILTERS,
            "mean": len(self.mean) == 3 and bool(np.isfinite(self.mean).all()),
            "std": len(self.std) == 3 and all(np.isfinite(value) and value > 0 for value in self.std),
            "layout": self.layout in ("NCHW", "NHWC"),
            "channel_order": self.channel_order in ("RGB", "BGR"),
        }
        for name, good in checks.items():
            if not good:
                raise OptionError(
                    f"Preprocessing: {name} is {getattr(self, name)!r}, which is outside its range "
                    "(sizes are positive, resize_to is at least the size, mean and std have three finite values)."
                )

    @classmethod
    def preset(
        cls, name: str, size: tuple[int, int], layout: Literal["NCHW", "NHWC"] = "NCHW", **changes: Any
    ) -> Preprocessing:
        """One of `PRESETS` for a model's input size; the shorter side is resized to 8/7 of it, as ImageNet networks do.

        Raises
        ------
        OptionError
            Unknown name.
        """
        if name not in PRESETS:
            raise OptionError(f"Unknown preprocessing preset {name!r}; there are {', '.join(PRESETS)}.")
        settings = {"resize_to": round(max(size) * 8 / 7), **PRESETS[name], **changes}
        return cls(size=size, layout=layout, **settings)

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
        # torchvision's rounding, so that the tensors are equal: the longer side is cut to an integer.
        edge, short = self.resize_to, min(height, width)
        new_height, new_width = (edge if side == short else int(edge * side / short) for side in (height, width))
        top, left = round((new_height - rows) / 2), round((new_width - columns) / 2)
        seen = picture.resize((new_width, new_height), resample).crop((left, top, left + columns, top + rows))
        across, down = width / new_width, height / new_height
        box = (left * across, top * down, (left + columns) * across, (top + rows) * down)
        return np.asarray(seen), Geometry((height, width), self.size, box)

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
        scale = 1 / np.asarray(self.std, dtype=np.float64)
        shift = (-np.asarray(self.mean, dtype=np.float64) * scale).astype(np.float32)
        channels = seen[..., ::-1] if self.channel_order == "BGR" else seen
        values = channels * scale.astype(np.float32) + shift
        return np.ascontiguousarray(values.transpose(2, 0, 1) if self.layout == "NCHW" else values)[None]

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
