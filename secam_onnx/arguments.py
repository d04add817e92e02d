"""Type checks for arguments of the Python API, by their annotations, before any work starts."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, Union

import numpy as np

from secam_onnx.errors import OptionError

__all__ = ["check_fields", "checked"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    type(None): "None",
    os.PathLike: "a path",
    np.ndarray: "an array",
    Iterable: "an iterable",
    Mapping: "a dict",
}


_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)


def checked(*but: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Make a function raise OptionError for arguments that do not match their annotations.

    Parameters
    ----------
    *but
        Names of parameters that the function itself checks.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            given = signature.bind(*args, **kwargs).arguments
            for name, hint in _hints(function).items():
                if name in given and name not in but:
                    _check(name, given[name], hint)
            return function(*args, **kwargs)

        return call

    return decorate


def check_fields(instance: Any) -> None:
    """Check the fields of a frozen dataclass in the same way; NumPy's numbers become Python's, lists and arrays tuples.

    Raises
    ------
    OptionError
        A field does not match its annotation.
    """
    hints = _hints(type(instance))
    for field in dataclasses.fields(instance):
        value = _plain(getattr(instance, field.name))
        _check(f"{type(instance).__name__}: {field.name}", value, hints[field.name])
        object.__setattr__(instance, field.name, value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _check(name: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        plain = isinstance(value, str | int | float | tuple | None)
        shown = repr(value) if plain else f"of type {type(value).__name__}"
        raise OptionError(f"{name} is {shown[:80]}; {_expected(hint)} was expected.")


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if isinstance(value, np.ndarray) and not value.ndim:  # it has __iter__ but cannot be iterated
        return hint is np.ndarray
    if origin is Literal:  # the function that takes the value says best which ones there are
        return isinstance(value, tuple(map(type, parts)))
    if origin is tuple or origin is Sequence:
        items = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)
        several = Ellipsis in parts or origin is Sequence
        if not items or not (several or len(value) == len(parts)):
            return False
        return all(_fits(item, parts[0] if several else parts[place]) for place, item in enumerate(value))
    if hint in (int, float, bool):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        real = isinstance(value, float | np.floating) and hint is float
        return isinstance(value, bool | np.bool_) if hint is bool else whole or real
    return isinstance(value, origin or hint)


def _expected(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_expected, parts)))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple and Ellipsis not in parts:
        return f"({', '.join(map(_expected, parts))})"
    if origin in (tuple, Sequence):
        return f"a sequence, each {_expected(parts[0])}"
    return _WORDS.get(origin or hint, getattr(hint, "__name__", str(hint)))
