"""How many bytes the numbers of a tensor take, and whether the file has as many."""

from __future__ import annotations

import math

from onnx import TensorProto

from secam_onnx.errors import ModelError

__all__ = ["check_tensor", "tensor_bytes"]

_BITS = {
    **dict.fromkeys(("UINT2", "INT2"), 2),
    **dict.fromkeys(("UINT4", "INT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("UINT8", "INT8", "BOOL", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 8),
    **dict.fromkeys(("UINT16", "INT16", "FLOAT16", "BFLOAT16"), 16),
    **dict.fromkeys(("UINT32", "INT32", "FLOAT"), 32),
    **dict.fromkeys(("UINT64", "INT64", "DOUBLE", "COMPLEX64"), 64),
    "COMPLEX128": 128,
}
_LARGEST = 2**40  # bytes


def _bits(tensor: TensorProto) -> int:
    known = TensorProto.DataType.values()
    name = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in known else ""
    if name not in _BITS:
        raise ModelError(
            f"The model is damaged: the tensor {tensor.name!r} has the element type {tensor.data_type}, which ONNX "
            "does not have. Download or export it again."
        )
    return _BITS[name]


def tensor_bytes(tensor: TensorProto) -> int:
    """Bytes that a tensor's numbers take, by its element type and shape.

    Raises
    ------
    ModelError
        A length is negative, the type is unknown, or no machine could hold it.
    """
    if any(length < 0 for length in tensor.dims):
        raise ModelError(
            f"The model is damaged: the tensor {tensor.name!r} has the negative length {min(tensor.dims)}. Download "
            "or export it again."
        )
    size = (math.prod(tensor.dims) * _bits(tensor) + 7) // 8
    if size > _LARGEST:
        raise ModelError(
            f"The model is damaged: the tensor {tensor.name!r} is declared with {size} bytes. Download or "
            "export it again."
        )
    return size


def check_tensor(tensor: TensorProto) -> None:
    """Check that a tensor has as many numbers as its shape says; external data are not read.

    Raises
    ------
    ModelError
        It has more or fewer.
    """
    if tensor.data_type == TensorProto.STRING:
        return
    wanted = tensor_bytes(tensor)
    if tensor.data_location == TensorProto.EXTERNAL:
        return
    found = len(tensor.raw_data) if tensor.HasField("raw_data") else _listed_bytes(tensor)
    if found != wanted:
        raise ModelError(
            f"The model is damaged: the tensor {tensor.name!r} of shape {list(tensor.dims)} has {found} bytes, and "
            f"{wanted} bytes were expected. Download or export it again."
        )


def _listed_bytes(tensor: TensorProto) -> int:
    """Bytes of numbers that are listed one by one in the field of their type."""
    bits, name = _bits(tensor), TensorProto.DataType.Name(tensor.data_type)
    if name in ("FLOAT", "COMPLEX64"):
        return 4 * len(tensor.float_data)
    if name in ("DOUBLE", "COMPLEX128"):
        return 8 * len(tensor.double_data)
    if name == "INT64":
        return 8 * len(tensor.int64_data)
    if name in ("UINT32", "UINT64"):
        return bits // 8 * len(tensor.uint64_data)
    # Narrower numbers are packed into bytes, and each byte is one entry.
    return max(bits // 8, 1) * len(tensor.int32_data)
