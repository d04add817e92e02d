"""An explanation as a row of a table: the columns of a Parquet dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from secam_onnx.errors import MissingDependencyError, SecamError
from secam_onnx.explanation import Explanation
from secam_onnx.files import printable
from secam_onnx.shown_text import shown
from secam_onnx.superpixels import encode_label_map

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ERROR_COLUMNS", "ERROR_KIND", "METADATA", "error_row", "error_schema", "in_one_line", "row", "schema"]

METADATA = b"secam_onnx"
"""Key of the settings, as JSON, in the metadata of a file's schema."""

ERROR_COLUMNS = ("image", "kind", "message")
"""Columns of the error table, all of them text."""

_LONGEST = 4000  # characters of a name or message in a line
_WHOLE = 12 * _LONGEST  # with all of it escaped
_FORMULAS = ("=", "+", "-", "@")

ERROR_KIND = {"ImageError": "image", "ModelError": "model"}
"""What the column `kind` of the error table says, by the name of the exception."""


def schema(settings: Mapping[str, Any], *, label_maps: bool = False) -> pa.Schema:
    """Make the columns of a dataset.

    Parameters
    ----------
    settings : mapping
        How the rows were made, as JSON types; stored in the metadata of each file.
    label_maps : bool
        Add the column `segments`, the label map as PNG.

    Raises
    ------
    MissingDependencyError
        pyarrow is not installed.
    """
    pa = arrow()
    floats = pa.list_(pa.float32())
    class_ = [("index", pa.int32()), ("label", pa.string()), ("probability", pa.float32()), ("logit", pa.float32())]
    numbers = [("bias", pa.float32()), ("gap", pa.float32())]
    values = [("black", pa.float64()), ("white", pa.float64()), ("doubt", pa.string())]
    superpixels = [("segment_scores", floats), ("segment_contributions", floats), ("kept", pa.list_(pa.bool_()))]
    fields = [
        ("image", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("predictions", pa.list_(pa.struct(class_))),
        ("classes", pa.list_(pa.struct([*class_, *numbers, *superpixels]))),
        ("box", pa.struct([(side, pa.float64()) for side in ("left", "top", "right", "bottom")])),
        ("completeness_error", pa.float64()),
        ("in_padding", pa.list_(pa.bool_())),
        ("values", pa.struct([("dtype", pa.string()), ("channels", pa.int32()), *values])),
        *([("segments", pa.binary())] if label_maps else []),
    ]
    return pa.schema(fields, metadata={METADATA: json.dumps(settings, ensure_ascii=False).encode()})


def error_schema(settings: Mapping[str, Any]) -> pa.Schema:
    """Make the columns of the error table; see `schema`."""
    pa = arrow()
    fields = [(name, pa.string()) for name in ERROR_COLUMNS]
    return pa.schema(fields, metadata={METADATA: json.dumps(settings, ensure_ascii=False).encode()})


def row(key: str, explanation: Explanation, *, label_maps: bool = False) -> dict[str, Any]:
    """Turn an explanation into a row of `schema`.

    Parameters
    ----------
    key : str
        The name of the image.
    explanation : Explanation
        The explanation, of K classes and S superpixels.
    label_maps : bool
        Add the label map as PNG.

    Returns
    -------
    dict
        The columns. `classes` has K entries; their lists have S elements, element `s` for the superpixel of label `s`.
    """
    height, width = explanation.geometry.image_size
    gap = explanation.gap
    classes = [
        vars(entry)
        | {
            "bias": explanation.bias[line],
            "gap": gap[line],
            "segment_scores": explanation.segment_scores[line],
            "segment_contributions": explanation.segment_contributions[line],
            "kept": explanation.selection.keep(
                explanation.segment_scores[line], explanation.segment_contributions[line]
            ),
        }
        for line, entry in enumerate(explanation.classes)
    ]
    columns = {
        "image": key,
        "width": width,
        "height": height,
        "predictions": [vars(entry) for entry in explanation.predictions],
        "classes": classes,
        "box": dict(zip(("left", "top", "right", "bottom"), explanation.geometry.box, strict=True)),
        "completeness_error": explanation.completeness_error,
        "in_padding": explanation.padding,
        "values": explanation.method.get("image"),
    }
    return columns | ({"segments": encode_label_map(explanation.segments)} if label_maps else {})


def error_row(key: str, error: SecamError) -> dict[str, str]:
    """Turn an error into a row of `error_schema`."""
    return {"image": key, "kind": ERROR_KIND.get(type(error).__name__, "other"), "message": printable(str(error))}


def in_one_line(text: str) -> str:
    """A text as the column of a line: as it is shown, and cut where it is long, with a digest.

    A path that a spreadsheet would take for a formula begins with `./`, which leads to the same file.
    """
    if len(text) > _LONGEST:
        digest = blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        text = f"{text[:_LONGEST]}... ({len(text):,} characters, {digest})"
    return ("./" if text.startswith(_FORMULAS) else "") + shown(text, _WHOLE)


def arrow() -> Any:
    """Import pyarrow.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependencyError(
            'Parquet needs pyarrow, which is not installed: pip install "secam-onnx[parquet]".'
        ) from error
    return pyarrow
