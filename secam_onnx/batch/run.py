"""One pass over many images: from sources through the explainer into a sink."""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from secam_onnx.batch.key_set import KeySet
from secam_onnx.batch.object_stores import RemoteImage
from secam_onnx.batch.sources import Item, Wanted
from secam_onnx.errors import ModelError, OutputError, SecamError
from secam_onnx.explainer import BATCH_SIZE, Explainer
from secam_onnx.labels.queries import ClassQuery
from secam_onnx.photograph.images import Photograph
from secam_onnx.threads import cores, map_ahead, thread_pool

if TYPE_CHECKING:
    from secam_onnx.heads import Heads

__all__ = ["ItemSource", "OnResult", "Sink", "Totals", "run", "unfinished"]

OnResult = Callable[[Item, Any], None]
"""Called with each image and its result, or the error instead of one."""

# No image is to blame for these, and the next ones would have them, too.
_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_OF_THE_RUN = {*_OURS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ECANCELED}
_HOPELESS = 20  # images in a row on which the model fails before the first success


class Sink(Protocol):
    """Keeps results. `encode` is called from several threads at once, everything else from the caller's."""

    needs_images: bool

    @property
    def locked(self) -> bool:
        """Whether other runs are kept out of its place."""

    @property
    def written(self) -> int:
        """How many results of this run are kept."""

    def finished(self, key: str, folder: str) -> bool:
        """Whether an earlier run has explained this image."""

    def failed(self, key: str) -> bool:
        """Whether an earlier run failed on this image, and it is not to be tried again."""

    def encode(self, item: Item, explanation: Any) -> Any:
        """Do the costly part of keeping a result."""

    def add(self, item: Item, encoded: Any) -> None:
        """Keep a result that was encoded."""

    def fail(self, item: Item, error: SecamError) -> None:
        """Keep the reason why there is no result."""

    def flush(self) -> None:
        """Write what was not written yet."""

    def close(self) -> None:
        """Leave the place to other runs; nothing is kept from here on."""


class ItemSource(Protocol):
    """Where images come from."""

    def items(self, wanted: Wanted) -> Iterator[Item]:
        """Go through the images that are wanted; see `Sources`."""


@dataclass
class Totals:
    """Counts of images.

    Attributes
    ----------
    explained, failed : int
        Images of this run.
    finished_earlier, failed_earlier : int
        Images that an earlier run had explained, or had failed on.
    repeated : int
        Images that were named more than once; only the first time counts.
    """

    explained: int = 0
    failed: int = 0
    finished_earlier: int = 0
    failed_earlier: int = 0
    repeated: int = 0

    @property
    def passed_over(self) -> int:
        """Images for which there was nothing to do."""
        return self.finished_earlier + self.failed_earlier + self.repeated

    @property
    def done(self) -> int:
        """Images that were tried."""
        return self.explained + self.failed


def unfinished(sink: Sink, totals: Totals) -> Wanted:
    """Make a function that tells which images are left to do, and counts the others in `totals`."""
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
    on_result: OnResult = lambda item, result: None,
) -> Totals:
    """Explain all images that the sink does not have yet.

    However it ends, by an error or by Ctrl-C, the results so far are kept.

    Parameters
    ----------
    explainer : Explainer or Heads
        Explains the images.
    sources : ItemSource
        Finds the images.
    sink : Sink
        Keeps the results.
    classes : sequence of int or str
        See `Explainer.explain`.
    segments : ndarray, optional
        A label map of your own, used for every image.
    batch_size, workers : int
        See `Explainer.explain_stream`.
    totals : Totals, optional
        Counted up as the run goes on, for whoever shows its progress.
    on_result : callable
        Called with each image and its result, or the error instead of one, after it was kept.

    Raises
    ------
    ModelError
        The model fails on the first images, one after the other; a later failure belongs to its image.
    OutputError
        A result cannot be written.
    """
    totals = Totals() if totals is None else totals
    workers = cores() if workers is None else workers
    images = _Images(sink, totals, on_result)
    stream = explainer.explain_stream(
        images.read(sources),
        classes,
        segments=None if segments is None else itertools.repeat(segments),
        batch_size=batch_size,
        workers=workers,
        keep_images=sink.needs_images,
    )
    try:
        with thread_pool(workers, "encode") as pool, contextlib.closing(stream) as results:
            try:
                for item, result, encoded in map_ahead(pool, images.encode, images.paired(results), ahead=workers):
                    images.keep(item, result, encoded)
                images.keep_suspects()
            finally:
                sink.flush()  # before anything waits for a thread: the program may be ended meanwhile
    finally:
        totals.explained = sink.written  # a run that was stopped may have written results that were not counted yet
        sink.close()
    return totals


class _Images:
    """The images of one run, on their way through the explainer into the sink."""

    def __init__(self, sink: Sink, totals: Totals, on_result: OnResult) -> None:
        self._sink, self._totals, self._on_result = sink, totals, on_result
        self._waiting: deque[Item] = deque()  # given to the explainer, whose results keep their order
        self._suspects: list[tuple[Item, ModelError]] = []  # the model may fail on every image: it never worked yet

    def read(self, sources: ItemSource) -> Iterator[Photograph]:
        """Give the images that are left to do to the explainer."""
        for item in sources.items(unfinished(self._sink, self._totals)):
            if item.error is not None:
                _check_open_files(item.error)
                self._fail(item, item.error)
            else:
                assert not isinstance(item.image, RemoteImage)
                self._waiting.append(item)
                yield item.image

    def paired(self, results: Iterator[Any]) -> Iterator[tuple[Item, Any]]:
        """Pair each result with its image."""
        return ((self._waiting.popleft(), result) for result in results)

    def encode(self, pair: tuple[Item, Any]) -> tuple[Item, Any, Any]:
        """Encode a result, in any thread."""
        item, result = pair
        try:
            return item, result, None if isinstance(result, SecamError) else self._sink.encode(item, result)
        except OutputError as error:  # its name is too long, or another program's files are in its folder
            if error.errno in _OF_THE_RUN:
                raise
            return item, error, None

    def keep(self, item: Item, result: Any, encoded: Any) -> None:
        """Keep a result, or the error instead of one."""
        if isinstance(result, ModelError) and not self._totals.explained + self._totals.finished_earlier:
            self._suspects.append((item, result))
            if len(self._suspects) == _HOPELESS:
                raise result
        elif isinstance(result, SecamError):
            _check_open_files(result)
            self._fail(item, result)
        else:
            self._sink.add(item, encoded)
            self._totals.explained += 1
            self._on_result(item, result)

    def keep_suspects(self) -> None:
        """Keep the errors before the first success: there were too few of them to blame the model."""
        for item, error in self._suspects:
            self._fail(item, error)

    def _fail(self, item: Item, error: SecamError) -> None:
        self._sink.fail(item, error)
        self._totals.failed += 1
        self._on_result(item, error)


def _check_open_files(error: SecamError) -> None:
    """Raise an error if it is not the image that cannot be read, but this process that cannot open one more file."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _OURS:
        raise SecamError(
            f"{error} This program has too many files open, or too little memory: raise the limit (ulimit -n), and go "
            "on with --resume."
        ) from error
