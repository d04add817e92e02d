"""Results of several heads of one model, each in a folder or dataset of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from secam_onnx.batch.run import Sink
from secam_onnx.batch.sources import Item
from secam_onnx.errors import SecamError
from secam_onnx.explanation import Explanation

__all__ = ["HeadSinks"]


class HeadSinks:
    """Keeps what `Heads` gives, one sink per head.

    Parameters
    ----------
    sinks : dict of str to Sink
        The sinks by the output that is explained. An image is finished once all of them have it.
    """

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self._sinks = dict(sinks)
        self._partly: dict[str, set[str]] = {}
        self.needs_images = any(sink.needs_images for sink in sinks.values())

    @property
    def locked(self) -> bool:
        """Whether other runs are kept out of all folders."""
        return all(sink.locked for sink in self._sinks.values())

    @property
    def written(self) -> int:
        """How many images of this run all sinks keep."""
        return min(sink.written for sink in self._sinks.values())

    def finished(self, key: str, folder: str) -> bool:
        """Whether an earlier run has explained this image for every head."""
        have = {name for name, sink in self._sinks.items() if sink.finished(key, folder)}
        if have and len(have) < len(self._sinks):  # the earlier run was stopped between two of them
            self._partly[key] = have
        return len(have) == len(self._sinks)

    def failed(self, key: str) -> bool:
        """Whether an earlier run failed on this image, and it is not to be tried again."""
        return any(sink.failed(key) for sink in self._sinks.values())

    def encode(self, item: Item, explanation: Mapping[str, Explanation]) -> dict[str, Any]:
        """Do the costly part of keeping the results."""
        missing = explanation.keys() - self._partly.get(item.key, set())
        return {name: self._sinks[name].encode(item, one) for name, one in explanation.items() if name in missing}

    def add(self, item: Item, encoded: Mapping[str, Any]) -> None:
        """Keep the results that were encoded."""
        for name, one in encoded.items():
            self._sinks[name].add(item, one)

    def fail(self, item: Item, error: SecamError) -> None:
        """Keep the reason why there is no result."""
        for sink in self._sinks.values():
            sink.fail(item, error)

    def flush(self) -> None:
        """Write what was not written yet, each sink whatever happens to the others."""
        with contextlib.ExitStack() as all_of_them:
            for sink in self._sinks.values():
                all_of_them.callback(sink.flush)

    def close(self) -> None:
        """Leave all places to other runs."""
        with contextlib.ExitStack() as all_of_them:
            for sink in self._sinks.values():
                all_of_them.callback(sink.close)
