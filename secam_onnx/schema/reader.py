"""Objects from parsed JSON, by the annotations of their fields, which are the schema.

Read are dataclasses, TypedDicts (whose keys may all be missing), tuples, lists, mappings from text, unions, literals,
`int`, `float`, `bool`, `str` and None, with ranges from `fields`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from secam_onnx.errors import SecamError
from secam_onnx.schema.fields import OneOf
from secam_onnx.shown_text import quoted

__all__ = ["from_json"]

Read = TypeVar("Read")

_WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", type(None): "null"}
_hints: Callable[..., dict[str, Any]] = functools.cache(typing.get_type_hints)


def from_json(class_: type[Read], value: Any, where: str = "") -> Read:
    """Read an object.

    Parameters
    ----------
    class_ : type
        What is expected: a dataclass or another annotation.
    value : object
        What `parse_json` gave.
    where : str
        The way to it, for messages: `head.shape`.

    Returns
    -------
    object
        Of that type. Every field of a dataclass has to be given, and no other.

    Raises
    ------
    ValueError
        A type or range is wrong; the message says where, what was found and what was expected.
    """
    result: Read = _read(class_, value, where)
    return result


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base, rule = parts  # of a number or a text
        if _is_plain(base, value) and value in rule:
            return base(value)
        raise _refusal(hint, value, where)
    if origin in (Union, types.UnionType):
        return _one_of(hint, parts, value, where)
    if origin is Literal:
        if not any(value == part and type(value) is type(part) for part in parts):
            raise _refusal(hint, value, where)
        return value
    if dataclasses.is_dataclass(hint):
        return _record(hint, value, where)
    if typing.is_typeddict(hint):
        return _entries(_hints(hint, include_extras=True), _object(hint, value, where), where, complete=False)
    if origin in (tuple, list) and isinstance(value, list):
        return origin(_items(hint, parts if origin is tuple else (*parts, ...), value, where))
    if origin is Mapping:
        entries = _object(hint, value, where).items()
        return {key: _read(parts[1], entry, f"{where}[{quoted(key)}]") for key, entry in entries}
    if _is_plain(hint, value):
        return float(value) if hint is float else value
    raise _refusal(hint, value, where)


def _is_plain(hint: Any, value: Any) -> bool:
    """Whether a number, a text, a bool or None is what was expected; an int is a float, but no bool is an int."""
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return hint in (int, bool, str, type(None)) and type(value) is hint


def _one_of(hint: Any, parts: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in parts:
        return None
    several = [part for part in parts if part is not type(None)]
    if len(several) == 1:
        return _read(several[0], value, where)  # whose error leads deeper
    for part in several:
        try:
            return _read(part, value, where)
        except ValueError:
            continue
    raise _refusal(hint, value, where)


def _items(hint: Any, parts: tuple[Any, ...], value: list[Any], where: str) -> tuple[Any, ...]:
    if parts[-1] is Ellipsis:
        parts = (parts[0],) * len(value)
    if len(parts) != len(value):
        raise _refusal(hint, value, where)
    items = enumerate(zip(parts, value, strict=True))
    return tuple(_read(part, entry, f"{where}[{place}]") for place, (part, entry) in items)


def _record(class_: Any, value: Any, where: str) -> Any:
    hints = _hints(class_, include_extras=True)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(class_)}
    found = _entries(fields, _object(class_, value, where), where, complete=True)
    try:
        return class_(**found)
    except SecamError as error:  # of its own checks, which say what was expected
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def _entries(hints: Mapping[str, Any], value: dict[str, Any], where: str, *, complete: bool) -> dict[str, Any]:
    here = where or "it"
    for key in value:
        if key not in hints:
            raise ValueError(f"{here} has {quoted(key)}, which is not known; known are {', '.join(hints)}")
    for key in hints if complete else ():
        if key not in value:
            raise ValueError(f"{here} has no {key}")
    return {key: _read(hints[key], entry, f"{where}.{key}" if where else key) for key, entry in value.items()}


def _object(hint: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refusal(hint, value, where)
    return value


def _refusal(hint: Any, value: Any, where: str) -> ValueError:
    shown = quoted(value)
    if isinstance(value, dict | list):
        shown = f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return ValueError(f"{where or 'it'} is {shown}; {_expected(hint)} was expected")


def _expected(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"one of {parts[1]}" if isinstance(parts[1], OneOf) else f"{_expected(parts[0])} of {parts[1]}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_expected, parts))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is list:
        return f"a list (each {_expected(parts[0])})"
    if origin is tuple:
        inside = f"each {_expected(parts[0])}" if parts[-1] is Ellipsis else ", ".join(map(_expected, parts))
        return f"a list ({inside})"
    return _WORDS.get(hint, "an object")
