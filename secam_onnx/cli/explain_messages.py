"""What `secam-onnx explain` says about the images while it runs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from secam_onnx.cli.console import clear_line, say, say_json
from secam_onnx.cli.explain_options import OutputOptions
from secam_onnx.shown_text import shown

if TYPE_CHECKING:
    from secam_onnx.batch.run import Totals
    from secam_onnx.batch.sources import Item
    from secam_onnx.errors import SecamError
    from secam_onnx.explanation import Explanation

__all__ = ["Messages", "head_folder", "images_in_words", "passed_over"]

_ERRORS_SHOWN = 10
_OUTLIERS = (
    "some tokens have over three times the usual norm; they may hold what belongs to no place, whatever the map shows "
    "there (outlier_tokens in the result's method)"
)


def head_folder(folder: Path, head: str) -> Path:
    """The folder of one head's results; the folder itself where the model has one head, without a name."""
    from secam_onnx.batch.folder_names import folder_name

    return folder / folder_name(head).replace("/", "_") if head else folder


def images_in_words(count: int) -> str:
    """A number of images, in words."""
    return f"{count} image{'' if count == 1 else 's'}"


def passed_over(totals: Totals) -> list[str]:
    """How many images there was nothing to do for, by reason."""
    counts = {
        "finished earlier": totals.finished_earlier,
        "failed earlier": totals.failed_earlier,
        "named twice": totals.repeated,
    }
    return [f"{count} {why}" for why, count in counts.items() if count]


class Messages:
    """Lines about single images: results, errors and doubts.

    Parameters
    ----------
    output : OutputOptions
        Where results go.
    each : bool
        Whether every error gets a line; otherwise only the first ten do.
    live : bool
        Whether a bar or lines of JSON show the progress; then there are no lines about results.
    """

    def __init__(self, output: OutputOptions, *, each: bool, live: bool) -> None:
        self._output, self._each, self._live = output, each, live
        self._errors = 0
        self._doubts: Counter[str] = Counter()

    def on_result(self, item: Item, result: Explanation | Mapping[str, Explanation] | SecamError) -> None:
        """Say what there is to say of one image."""
        from secam_onnx.errors import SecamError

        if isinstance(result, SecamError):
            self._failed(item, result)
            return
        by_head = result if isinstance(result, Mapping) else {"": result}
        self._doubt(item.key, next(iter(by_head.values())).method.get("image", {}).get("doubt"))
        if any(explanation.method.get("outlier_tokens") for explanation in by_head.values()):
            self._doubt(item.key, _OUTLIERS)
        for head, explanation in by_head.items():
            name = f"{item.key}, {head}" if head else item.key
            self._explained(name, head_folder(self._output.folder, head) / item.folder, explanation)

    def count_doubts(self) -> None:
        """Say how many more images each doubt applies to, of which only the first image was named."""
        for doubt, count in self._doubts.items():
            if count > 1:
                self.note(f"Warning: {count - 1} more image{'s' * (count > 2)}: {doubt}")

    def _failed(self, item: Item, error: SecamError) -> None:
        self._errors += 1
        if self._output.json_progress:
            say_json({"event": "failed", "image": item.key, "message": str(error)}, err=True)
        elif self._each or self._errors <= _ERRORS_SHOWN:
            self.note(f"Error: {error}")

    def _doubt(self, name: str, doubt: str | None) -> None:
        if doubt:
            self._doubts[doubt] += 1
            if self._doubts[doubt] == 1:
                self.note(f"Warning: {name}: {doubt}")

    def note(self, text: str) -> None:
        """Say something of the whole run."""
        if self._output.json_progress:
            say_json({"event": "note", "message": text}, err=True)
        elif self._live:
            from tqdm import tqdm

            tqdm.write(shown(text), file=sys.stderr)
        else:
            say(text, err=True)

    def _explained(self, name: str, folder: Path, explanation: Explanation) -> None:
        if not self._live and not self._output.parquet:
            if self._each and sys.stderr.isatty():
                clear_line()  # of seconds that count up
            say(_summary(name, folder, explanation, self._output.pictures))


def _summary(name: str, folder: Path, explanation: Explanation, pictures: int) -> str:
    top = ", ".join(map(str, explanation.predictions[:3]))
    classes = len(explanation.classes)
    note = f" (pictures of {pictures} of {classes} classes: --pictures)" if 0 < pictures < classes else ""
    share = explanation.no_place()
    share = f"; {share}" if share else ""
    return f"{name}: {top} -> {folder}{note}{share}"
