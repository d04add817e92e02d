"""Arrays of numbers from `.npy` and `.npz` files, whose headers are looked at before anything else is read."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from secam_onnx.errors import OptionError
from secam_onnx.files import open_regular

__all__ = ["read_array", "read_arrays"]

_MOST = 1 << 26  # numbers in one array
_MAGIC, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_ADVICE = "Save one array of float32 with numpy.save."


def read_array(path: str | os.PathLike[str], what: str) -> np.ndarray:
    """Read the array of a `.npy` file; nothing in it is ever unpickled.

    Parameters
    ----------
    path : path
        The file.
    what : str
        What messages call it: "the class vectors".

    Raises
    ------
    OptionError
        The file is missing, of another kind, cut off or too large, or holds other things than numbers.
    """
    file = Path(path)
    try:
        with open_regular(file) as handle:
            head = handle.read(len(_MAGIC))
            handle.seek(0)
            if head.startswith(_ZIP):
                raise ValueError(f"it is an archive of several arrays (.npz) or of PyTorch's weights. {_ADVICE}")
            if head != _MAGIC:
                raise ValueError(f"it is no NumPy array (.npy). {_ADVICE}")
            return _array(handle, os.fstat(handle.fileno()).st_size)
    except OSError as error:
        raise OptionError(f"Cannot read {what} from {file}: {error.strerror or error}.") from error
    except ValueError as error:
        raise OptionError(f"Cannot read {what} from {file}: {error}") from error


def read_arrays(path: str | os.PathLike[str], what: str) -> dict[str, np.ndarray]:
    """Read the arrays of a `.npz` file by their names; nothing in it is ever unpickled.

    Parameters
    ----------
    path, what
        As in `read_array`.

    Raises
    ------
    OptionError
        As in `read_array`.
    """
    file = Path(path)
    advice = "Save the arrays by their names with numpy.savez."
    try:
        with open_regular(file) as handle, zipfile.ZipFile(handle) as archive:
            arrays = {}
            for entry in archive.infolist():
                with archive.open(entry) as part:
                    arrays[entry.filename.removesuffix(".npy")] = _array(part, entry.file_size)  # type: ignore[arg-type]
            return arrays
    except OSError as error:
        raise OptionError(f"Cannot read {what} from {file}: {error.strerror or error}.") from error
    except (ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:  # encrypted, ...
        raise OptionError(f"Cannot read {what} from {file}: {str(error).rstrip('.')}. {advice}") from error


def _array(handle: BinaryIO, size: int) -> np.ndarray:
    """The array that an open file holds, once its header is known to tell the truth.

    Raises
    ------
    ValueError
        The message is the reason.
    """
    try:
        first = np.lib.format.read_magic(handle) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(handle)
    except Exception as error:  # the header is a literal of Python, which can be wrong in many ways
        raise ValueError(f"its header is damaged ({str(error)[:100]}). {_ADVICE}") from error
    if dtype.hasobject:
        raise ValueError(f"it holds Python objects, which are not opened, since that could run code. {_ADVICE}")
    if dtype.kind not in "fiub" or dtype.names is not None:
        bfloat = " (bfloat16 is saved so)" if dtype.kind == "V" and dtype.itemsize == 2 else ""
        raise ValueError(f"it holds values of type {dtype}{bfloat}; numbers were expected. {_ADVICE}")
    count = math.prod(shape)
    if not 0 <= count <= _MOST:
        raise ValueError(f"it has {count:,} numbers; at most {_MOST:,} were expected. Save fewer.")
    expected = count * dtype.itemsize
    data = handle.read(expected) if size - handle.tell() >= expected else b""
    if len(data) < expected:
        raise ValueError(f"it is cut off: {expected:,} bytes of numbers were expected. Save it again.")
    values = np.frombuffer(data, dtype=dtype)
    return values.reshape(shape, order="F" if fortran else "C")
