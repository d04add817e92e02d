"""Label maps that a user gives as files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from secam_onnx.errors import ImageError, OptionError
from secam_onnx.files import open_regular
from secam_onnx.photograph.file_structure.read_structure import read_structure
from secam_onnx.photograph.raster import MAX_PIXELS, check_size

__all__ = ["read_label_map"]

_LONGEST_REASON = 300


def read_label_map(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a label map from a PNG, TIFF or NPY file, by the limits of images.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ndarray
        Whatever array the file holds; `check_label_map` tells whether it is a label map.

    Raises
    ------
    OptionError
        The file is missing, damaged, too large or of another format.
    """
    file = Path(path)
    try:
        with open_regular(file) as handle:
            structure = read_structure(handle, file.name, formats=("PNG", "TIFF", "NPY"))
            check_size((structure.height, structure.width, structure.channels), file.name, MAX_PIXELS)
            handle.seek(0)
            if structure.format == "NPY":
                return np.asarray(np.load(handle, allow_pickle=False))
            with Image.open(handle, formats=(structure.format,)) as image:
                return np.asarray(image)
    except ImageError as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        reason = str(error)
    raise OptionError(
        f"Cannot read the label map {file}: {reason[:_LONGEST_REASON].rstrip('.')}. Give a PNG, TIFF or NPY of "
        "integers."
    )
