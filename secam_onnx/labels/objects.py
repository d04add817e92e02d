"""Class names in values of JSON, YAML and Python: lists, indices with names, and the configurations of other programs.

Every error here is a ValueError whose message is the reason alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from secam_onnx.files import printable
from secam_onnx.shown_text import quoted

__all__ = [
    "MAX_DIGITS",
    "MAX_NAMES",
    "MAX_NAME_LENGTH",
    "classes_in_words",
    "in_order",
    "miscounted",
    "names_in",
    "split_names",
    "timm_names",
    "transformers_names",
]

MAX_DIGITS = 18
"""No index of a class has more digits, and Python refuses to convert very long numbers."""

MAX_NAMES = 1_000_000
"""The most names of a file."""

MAX_NAME_LENGTH = 1000
"""The most characters of a name."""

_LISTS = ("names", "labels", "classes", "class_names", "categories", "character")
_INDICES = ("label2id", "class_indices", "class_to_idx")


def names_in(value: Any) -> tuple[str, ...]:
    """Class names in a value of any form that `read_labels` documents.

    Raises
    ------
    ValueError
        The form is another one, a class has no name, or an index is missing.
    """
    if not isinstance(value, Mapping):
        return in_order(value)
    if isinstance(value.get("pretrained_cfg"), Mapping) or "label_names" in value:
        return timm_names(value)
    if "id2label" in value:
        return transformers_names(value)
    for key in (*_LISTS, *_INDICES):
        if isinstance(value.get(key), Mapping | list | tuple):
            return in_order(value[key])
    return in_order(value)


def in_order(names: Any) -> tuple[str, ...]:
    """Class names in order of the index, from a list, `{index: name}` or `{name: index}`.

    Raises
    ------
    ValueError
        The value is none of these, a class has no name, or an index is missing.
    """
    if isinstance(names, Mapping):
        names = _by_index(names)
    if isinstance(names, str | bytes) or not isinstance(names, Sequence):
        raise ValueError(f"it is of type {type(names).__name__}, where a list of names was expected")  # noqa: TRY004
    if not names:
        raise ValueError("every class needs a name, but there are none")
    if len(names) > MAX_NAMES:
        raise ValueError(f"it names {len(names):,} classes; at most {MAX_NAMES:,} are read")
    if all(isinstance(name, int) and not isinstance(name, bool) for name in names):  # 0, 90, 180, 270
        names = list(map(str, names))
    return tuple(_name(entry, index) for index, entry in enumerate(names))


def _name(entry: Any, index: int) -> str:
    found = entry
    # Keras's imagenet_class_index.json has ["n01440764", "tench"] for each class.
    if isinstance(entry, list | tuple) and entry and all(isinstance(part, str) for part in entry):
        found = entry[-1]
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"every class needs a name, but class {index} has {quoted(entry)}")
    if len(found) > MAX_NAME_LENGTH:
        raise ValueError(f"class {index} has a name of {len(found):,} characters; at most {MAX_NAME_LENGTH} are read")
    if not found.isascii() and printable(found) != found:
        raise ValueError(f"class {index} has half of a surrogate pair in its name, which is no character")
    return found.strip()


def _by_index(names: Mapping[Any, Any]) -> list[Any]:
    """The values in order of the keys, or the keys in order of the values: whichever are 0, 1, 2, ..."""
    keys, values = ([_index(entry) for entry in side] for side in (names, names.values()))
    indexed, turned = (set(side) == set(range(len(names))) for side in (keys, values))
    if indexed and turned and keys != values:
        # The names are numbers. Programs write an index as a number, except for keys of JSON, which are always text.
        kinds = {(isinstance(key, int), isinstance(value, int)) for key, value in names.items()}
        if len(kinds) > 1 or (True, True) in kinds:
            raise ValueError("its keys and its values could both be the indices; give the names as a list")
        indexed = (False, True) not in kinds
    if indexed or turned:
        in_turn = zip(keys, names.values(), strict=True) if indexed else zip(values, names, strict=True)
        by_index = dict(in_turn)
        return [by_index[index] for index in range(len(names))]
    some = keys if None not in keys else values
    if None in some:
        first = ", ".join(map(quoted, itertools.islice(names, 5)))
        raise ValueError(f"neither its keys nor its values are class indices; the first keys are {first}")
    missing = next(index for index in range(len(names)) if index not in some)
    raise ValueError(f"the index {missing} is missing; labels count from 0 without gaps")


def _index(entry: Any) -> int | None:
    if isinstance(entry, int) and not isinstance(entry, bool):
        return entry
    if isinstance(entry, str) and entry.isdecimal() and len(entry) <= MAX_DIGITS:
        return int(entry)
    return None


def transformers_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in the `id2label` of a `config.json` of Hugging Face's transformers.

    Raises
    ------
    ValueError
        There are none, only generic ones, or they are incomplete.
    """
    names = config.get("id2label")
    if not isinstance(names, Mapping) or not names:
        raise ValueError("it has no id2label")
    found = in_order(names)
    if all(name == f"LABEL_{index}" for index, name in enumerate(found)):
        raise ValueError("its id2label has generic names only")
    return found


def timm_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The `label_descriptions` in a `config.json` of timm for its `label_names`, or these where one is missing.

    Raises
    ------
    ValueError
        There are none, or they are incomplete.
    """
    nested = config.get("pretrained_cfg")
    nested = nested if isinstance(nested, Mapping) else config
    names, descriptions = (config.get(key) or nested.get(key) for key in ("label_names", "label_descriptions"))
    names = names or nested.get("labels")  # as older versions called them
    if not names:
        raise ValueError("it has no label_names")
    found = in_order(names)
    if not isinstance(descriptions, Mapping):
        return found
    told = [descriptions.get(name) for name in found]
    return tuple(text if isinstance(text, str) and text else name for text, name in zip(told, found, strict=True))


def split_names(text: str, separator: str | None) -> list[str]:
    """The parts of a text between separators, or between blanks.

    Raises
    ------
    ValueError
        There are too many.
    """
    parts = text.split(separator, MAX_NAMES)
    if len(parts) > MAX_NAMES:
        raise ValueError(f"it has more than {MAX_NAMES:,} names; so many are not read")
    return parts


def classes_in_words(n_classes: int) -> str:
    """`1 class`, `2 classes`."""
    return f"{n_classes} class{'es' * (n_classes != 1)}"


def miscounted(labels: Sequence[str], n_classes: int) -> str:
    """The error message where the number of labels is not that of the classes."""
    there = "is 1 label" if len(labels) == 1 else f"are {len(labels)} labels"
    text = f"There {there} for {classes_in_words(n_classes)}; give one name for each class, in order of the index."
    if len(labels) == n_classes + 1 and labels[0].casefold() in ("background", "__background__", "???"):
        text += f" The first one, {labels[0]!r}, is not a class of this model: leave it out."
    elif any(name.startswith("# ") for name in labels):
        text += " A line that begins with # counts as a name: leave it out if it is a comment."
    elif len(labels) == n_classes - 1:
        text += " Some models have one more class at the front, 'background': put that name first if this one does."
    return text
