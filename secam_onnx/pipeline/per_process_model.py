"""The opened model of an explainer in any process: it is opened again after a fork or a pickle."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from secam_onnx import runtime
from secam_onnx.classifier.open import open_model
from secam_onnx.classifier.opened_model import OpenModel
from secam_onnx.default_model import default_model
from secam_onnx.errors import ForkError, ModelError, OptionError
from secam_onnx.files import file_state, sha256
from secam_onnx.forks import lock_here
from secam_onnx.graph.locate import model_file
from secam_onnx.pipeline.finish import describe
from secam_onnx.threads import cores

if TYPE_CHECKING:
    from secam_onnx.decoding.decoder_pool import DecoderPool

__all__ = ["PerProcessModel"]


class _Here(NamedTuple):
    """What one process has opened."""

    process: int
    model: OpenModel
    pool: ThreadPoolExecutor
    states: dict[Path, tuple[int, ...] | None]
    decoders: list[DecoderPool]  # none, or one


class PerProcessModel:
    """A model that is open in this process.

    A forked child opens it again at first use, and an unpickled copy at once. Both read the same files, which must not
    have changed.

    Parameters
    ----------
    model : path or None
        The model or its folder; the default model by default.
    options : dict
        Arguments of `open_model`.
    opened : OpenModel, optional
        The model, if it was opened with these options already.
    """

    def __init__(
        self, model: str | os.PathLike[str] | None, options: dict[str, Any], opened: OpenModel | None = None
    ) -> None:
        self._default = model is None
        self.path = model_file(default_model() if model is None else model).absolute()
        self._options = options
        self._here: _Here | None = self._opened(opened)
        self._said = _said(self._here.model)

    @property
    def model(self) -> OpenModel:
        """The model of this process."""
        return self._in_this_process().model

    @property
    def pool(self) -> ThreadPoolExecutor:
        """Threads that make superpixels while the network runs; scikit-image releases the interpreter lock."""
        return self._in_this_process().pool

    @property
    def decoders(self) -> DecoderPool:
        """Processes that read images; none is started before one is needed."""
        here = self._in_this_process()
        with lock_here():
            if not here.decoders:
                from secam_onnx.decoding.decoder_limits import DecoderLimits  # few explainers need them
                from secam_onnx.decoding.decoder_pool import DecoderPool

                here.decoders.append(DecoderPool(cores(), DecoderLimits()))
            return here.decoders[0]

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._here is None

    def check_open(self) -> None:
        """Raise OptionError if `close` was called."""
        self._still_open()

    def close(self) -> None:
        """Finish the superpixels in progress, shut the threads down and let go of the model."""
        here, self._here = self._here, None
        if here is not None and here.process == os.getpid():  # a forked child has none of the threads
            for decoders in here.decoders:
                decoders.close()
            here.pool.shutdown()

    def _in_this_process(self) -> _Here:
        here = self._still_open()
        if here.process != os.getpid():
            with lock_here():
                here = self._still_open()
                if here.process != os.getpid():
                    here = self._here = self._opened_after_fork(here)
        return here

    def _still_open(self) -> _Here:
        here = self._here
        if here is None:
            raise OptionError(f"The explainer of {self.path} is closed; make a new Explainer.")
        return here

    def _opened(self, model: OpenModel | None = None) -> _Here:
        model = model or open_model(self.path, **self._options)
        states = {file: file_state(file) for file in (self.path, *model.files)}
        pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="secam-superpixels")
        return _Here(os.getpid(), model, pool, states, [])

    def _opened_after_fork(self, before: _Here) -> _Here:
        if runtime.CUDA in before.model.providers:
            raise ForkError(
                "The model was opened on CUDA before this process was forked, and CUDA does not work in both. Start "
                "processes with 'spawn', or open the explainer in each of them."
            )
        _check_states(before)
        here = self._opened()
        self._check_said(here.model)
        return here

    def __getstate__(self) -> dict[str, Any]:
        here = self._in_this_process()
        _check_states(here)
        digests = {os.path.relpath(file, self.path.parent): sha256(file) for file in here.states}
        return {
            "path": None if self._default else self.path,
            "options": self._options,
            "digests": digests,
            "said": self._said,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._default = state["path"] is None
        self.path = model_file(default_model() if self._default else state["path"]).absolute()
        self._options, self._said = state["options"], state["said"]
        for name, digest in state["digests"].items():
            file = self.path.parent / name
            try:
                same = sha256(file) == digest
            except OSError as error:
                raise ModelError(
                    f"{file} cannot be read ({error.strerror}); a pickled explainer opens its model again, so the file "
                    "must exist for this process too."
                ) from error
            if not same:
                raise _changed(file)
        self._here = self._opened()
        self._check_said(self._here.model)

    def _check_said(self, model: OpenModel) -> None:
        now = _said(model)
        different = [name for name, value in now.items() if self._said.get(name) != value]
        if different:
            raise ModelError(
                f"{self.path} was opened again, and its {' and '.join(different)} differ from before: a file beside it "
                "has changed. Make a new Explainer."
            )


def _check_states(here: _Here) -> None:
    for file, state in here.states.items():
        if file_state(file) != state:
            raise _changed(file)


def _said(model: OpenModel) -> dict[str, object]:
    """What must be the same when a model is opened again, on any processor."""
    said = describe(model) | {"labels": model.metadata.labels}
    return {name: value for name, value in said.items() if name not in ("providers", "version")}


def _changed(file: Path) -> ModelError:
    return ModelError(
        f"{file} has changed since the explainer opened it, and another process has to open it again. Make a new "
        "Explainer."
    )
