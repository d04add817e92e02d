"""One pass over many images: from sources through the explainer into a sink."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from secam_onnx.batch.key_set import KeySet
from secam_onnx.batch.object_stores import RemoteImage
from secam_onnx.batch.sources import Item, Wanted
from secam_onnx.errors import ModelError, SecamError
from secam_onnx.explainer import BATCH_SIZE, Explainer
from secam_onnx.labels import ClassQuery
from secam_onnx.photograph.images import Photograph
from secam_onnx.threads import cores, map_ahead, thread_pool

if TYPE_CHECKING:
    from secam_onnx.heads import Heads

__all__ = ["ItemSource", "Sink", "Totals", "run", "unfinished"]


_HOPELESS = 20  # images on which the model fails before the first success


class Sink(Protocol):
    """Where results go. Only `encode` is called from other threads, several at a time."""

    needs_images: bool

    @property
    def written(self) -> int:
        """How many results of this run are kept."""

    def finished(self, key: str, folder: str) -> bool:
        """Whether an earlier run has explained this image."""

    def failed(self, key: str) -> bool:
        """Whether an earlier run could not, and it is not to be tried again."""

    def encode(self, item: Item, explanation: Any) -> Any:
        """The costly part of keeping a result."""

    def add(self, item: Item, encoded: Any) -> None:
        """The rest of it."""

    def fail(self, item: Item, error: SecamError) -> None:
        """Keep why there is no result."""

    def close(self) -> None:
        """Keep what is not kept yet."""


@dataclass
class Totals:
    """How many images were explained, failed, were passed over as done by an earlier run, and were named twice."""

    explained: int = 0
    failed: int = 0
    finished_earlier: int = 0
    failed_earlier: int = 0
    repeated: int = 0

    @property
    def passed_over(self) -> int:
        """Those for which nothing was to be done."""
        return self.finished_earlier + self.failed_earlier + self.repeated

    @property
    def done(self) -> int:
        """Those that were tried."""
        return self.explained + self.failed


class ItemSource(Protocol):
    """Where images come from."""

    def items(self, wanted: Wanted) -> Iterator[Item]:
        """Go through those that are wanted; see `Sources`."""


def unfinished(sink: Sink, totals: Totals) -> Wanted:
    """Tell which images are met for the first time and not dealt with by an earlier run; the others are counted."""
    met = KeySet()

    def wanted(key: str, folder: str) -> bool:
        if not met.add(key):
            totals.repeated += 1
        elif sink.failed(key):
            totals.failed_earlier += 1
        elif sink.finished(key, folder):
            totals.finished_earlier += 1
        else:
            return True
        return False

    return wanted


def run(
    explainer: Explainer | Heads,
    sources: ItemSource,
    sink: Sink,
    classes: Sequence[ClassQuery] = ("top-1",),
    *,
    segments: np.ndarray | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    totals: Totals | None = None,
    seen: Callable[[Item, Any], None] = lambda item, result: None,
) -> Totals:
    """Explain all images that the sink does not have yet.

    Whatever ends it, an error or Ctrl-C, what was finished is kept.

    Parameters
    ----------
    explainer, sources, sink
        Who explains what, and where results go.
    classes : sequence of int or str
        See `Explainer.explain`.
    segments : ndarray, optional
        A label map of one's own, for each image.
    batch_size, workers : int
        See `Explainer.explain_stream`.
    totals : Totals, optional
        Counted up while it runs.
    seen : callable
        Told of each image once its result, or why there is none, is kept.

    Raises
    ------
    ModelError
        The model fails on one image after the other from the first one on; otherwise a failure is that of an image.
    OutputError
        A result cannot be written.
    """
    totals = Totals() if totals is None else totals
    waiting: deque[Item] = deque()  # handed to the explainer, not come back yet
    early: list[tuple[Item, ModelError]] = []  # before there was any result
    workers = cores() if workers is None else workers

    def images() -> Iterator[Photograph]:
        for item in sources.items(unfinished(sink, totals)):
            if item.error is not None:
                fail(item, item.error)
            else:
                assert not isinstance(item.image, RemoteImage)
                waiting.append(item)
                yield item.image

    def fail(item: Item, error: SecamError) -> None:
        sink.fail(item, error)
        totals.failed += 1
        seen(item, error)

    def encode(pair: tuple[Item, Any]) -> tuple[Item, Any, Any]:
        item, result = pair
        return item, result, None if isinstance(result, SecamError) else sink.encode(item, result)

    own = None if segments is None else itertools.repeat(segments)
    stream = explainer.explain_stream(
        images(), classes, segments=own, batch_size=batch_size, workers=workers, keep_images=sink.needs_images
    )
    try:
        with thread_pool(workers, "encode") as pool, contextlib.closing(stream) as results:
            pairs = ((waiting.popleft(), result) for result in results)
            for item, result, encoded in map_ahead(pool, encode, pairs, ahead=workers):
                if isinstance(result, ModelError) and not totals.explained + totals.finished_earlier:
                    early.append((item, result))
                    if len(early) == _HOPELESS:
                        raise result
                elif isinstance(result, SecamError):
                    fail(item, result)
                else:
                    sink.add(item, encoded)
                    totals.explained += 1
                    seen(item, result)
        for item, result in early:
            fail(item, result)
    finally:
        sink.close()
        totals.explained = sink.written  # some were written and not counted yet when it was stopped
    return totals
