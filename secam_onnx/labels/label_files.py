"""Class names from files, in the forms that frameworks and people write; other files are named and refused."""

from __future__ import annotations

import codecs
import csv
import os
import re
from pathlib import Path

from secam_onnx.errors import OptionError
from secam_onnx.files import read_regular
from secam_onnx.labels.lines import names_in_csv, names_in_lines
from secam_onnx.labels.literals import literal
from secam_onnx.labels.objects import names_in
from secam_onnx.labels.yaml import is_yaml, names_in_yaml

__all__ = ["parse_names", "read_labels"]

_LARGEST = 16_000_000  # bytes of a file
_ODD = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
          codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}  # fmt: skip
_PICKLE = "a pickle, which can run any program when it is opened; write the names as JSON or as text"
_BINARIES = {
    **{b"\x80" + bytes([version]): _PICKLE for version in range(2, 6)},
    **dict.fromkeys((b"(lp", b"(dp", b"]q", b"}q"), _PICKLE),
    b"PK\x03\x04": "a zip archive, as PyTorch, NumPy and Teachable Machine write them; unpack it",
    b"\x93NUMPY": "a NumPy array; write the names as JSON or as text",
    b"\x89HDF": "an HDF5 file, as Keras writes models; write the names as JSON or as text",
    b"\x1f\x8b": "compressed (gzip); unpack it",
}
_TEXTS = {
    "item": "a label map of TensorFlow's object detection (.pbtxt)",
    "<": "HTML or XML",
    "version https://git-lfs": "a pointer of Git LFS; `git lfs pull` fetches the file",
    "import ": "a program",
    "from ": "a program",
}


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names from a file.

    One name a line, which may begin with its index (`0 cat`, `0: cat`) or with WordNet's synset. JSON or a Python
    literal: a list of names, `{index: name}`, `{name: index}` (Keras's `class_indices.json`), Keras's
    `{"0": ["n01440764", "tench"]}`, a whole `config.json` of transformers or timm, an object with `labels` or `names`
    (Teachable Machine). CSV: a column of names, or one of indices and one of names, with or without a header. YAML with
    `names` (Ultralytics). The text is UTF-8, or UTF-16 with its mark.

    Raises
    ------
    OptionError
        The file is missing, too large, or of another kind, which the message names.
    """
    file = Path(path)
    try:
        return _names(_text(read_regular(file, _LARGEST)), file.suffix.lower())
    except OSError as error:
        raise OptionError(f"Cannot read labels from {file}: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:
        raise OptionError(
            f"{file} cannot be used as class names: {error}. Give one name per line, or JSON, CSV or YAML with "
            "names, or with indices and names."
        ) from error


def parse_names(text: str) -> tuple[str, ...]:
    """Class names in a text: JSON, a Python literal, YAML with `names`, or one name a line.

    Raises
    ------
    ValueError
        The text is none of these; the message is the reason alone.
    """
    text = text.strip("\ufeff \t\r\n")
    for start, kind in _TEXTS.items():
        if text[:40].casefold().startswith(start) and (start != "item" or text[4:].lstrip().startswith("{")):
            raise ValueError(f"it is {kind}")
    if (text[:1], text[-1:]) in {("[", "]"), ("{", "}")}:
        return names_in(literal(text))
    return names_in_yaml(text) if is_yaml(text) else names_in_lines(text)


def _text(data: bytes) -> str:
    for start, kind in _BINARIES.items():
        if data.startswith(start):
            raise ValueError(f"it is {kind}")
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}") from error
    if odd := _ODD.search(text):
        raise ValueError(f"it is not text: it holds the character {ord(odd[0]):#04x}")
    return text


def _names(text: str, ending: str) -> tuple[str, ...]:
    if ending == ".json":
        return names_in(literal(text.strip()))
    if ending in (".csv", ".tsv"):
        return names_in_csv(text)
    if ending in (".yaml", ".yml"):
        return names_in_yaml(text)
    if ending in (".py", ".ipynb", ".toml", ".ini", ".xml", ".html"):
        raise ValueError(f"names are not read from {ending} files")
    return parse_names(text)
