"""What a protobuf message will hold, counted on the wire: parsed, it may take a hundred times its bytes, for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secam_onnx.serve.request_errors import MalformedError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

__all__ = ["MOST_FIELDS", "count_values"]

MOST_FIELDS = 10_000
"""The most fields of a message and all inside it; packed numbers are one field, and so is a tensor's raw data."""

_CONTINUED = bytes(range(128, 256))  # all bytes of a number but its last
_WIDTHS = {1: 8, 6: 8, 16: 8, 2: 4, 7: 4, 15: 4}  # bytes of a number, by the field's type, where they are fixed
_TEXT = (9, 12)  # string, bytes


def count_values(data: bytes, descriptor: Descriptor) -> int:
    """Count the fields and the numbers of a message, before it is parsed.

    What is cut off or damaged is not looked at further: the parser refuses it.

    Raises
    ------
    MalformedError
        There are more than `MOST_FIELDS` fields.
    """
    fields, numbers = 0, 0
    waiting: list[tuple[int, int, Descriptor]] = [(0, len(data), descriptor)]
    while waiting:
        at, end, kind = waiting.pop()
        while at < end:
            fields += 1
            if fields > MOST_FIELDS:
                raise MalformedError(
                    f"The message has more than {MOST_FIELDS:,} fields; send tensors as raw or packed contents."
                )
            tag, at = _varint(data, at, end)
            wire = tag & 7
            if wire == 2:
                length, at = _varint(data, at, end)
                field, stop = kind.fields_by_number.get(tag >> 3), at + length
                if stop > end:
                    return fields + numbers
                if field is not None and field.message_type is not None:
                    waiting.append((at, stop, field.message_type))
                elif field is not None and field.type not in _TEXT:
                    numbers += _packed(data, at, stop, field)
                at = stop
            elif wire == 0:
                _, at = _varint(data, at, end)
            else:
                at += {1: 8, 5: 4}.get(wire, 0)  # the others begin and end groups
    return fields + numbers


def _packed(data: bytes, at: int, end: int, field: FieldDescriptor) -> int:
    width = _WIDTHS.get(field.type)
    return (end - at) // width if width else len(data[at:end].translate(None, _CONTINUED))


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number, and where it ends; where it does not end, all that follows is damaged."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    return 0, end
