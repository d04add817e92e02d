"""Running sessions, so that a run can be ended from another thread."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from secam_onnx.errors import ModelError
from secam_onnx.forks import check_process
from secam_onnx.runtime.installation import load
from secam_onnx.runtime.stopping import stoppable

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

__all__ = ["Interrupt", "input_dtype", "run"]

_INPUT_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
}


class Interrupt:
    """Ends runs from another thread: the current run inside its `with` block, and all that would follow there.

    A run ends with an error, between two nodes of the graph. An instance serves one block, in one thread.
    """

    def __init__(self) -> None:
        self._options = load().RunOptions()

    def stop(self) -> None:
        """End the runs; may be called from any thread."""
        self._options.terminate = True

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return bool(self._options.terminate)

    def __enter__(self) -> Interrupt:
        self._token = _run_options.set(self._options)
        return self

    def __exit__(self, *_: object) -> None:
        _run_options.reset(self._token)


_run_options: contextvars.ContextVar[Any] = contextvars.ContextVar("run_options", default=None)


def run(
    session: onnxruntime.InferenceSession, names: Sequence[str], feeds: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Run a session; an `Interrupt` around the call can end it, and so can `stop_all`.

    Parameters
    ----------
    session : InferenceSession
        See `open_session`.
    names : sequence of str
        The outputs to compute.
    feeds : mapping of str to ndarray
        A value for each input.

    Returns
    -------
    list of ndarray
        The outputs, in order of the names.

    Raises
    ------
    ForkError
        This process was forked from the one that opened the session.
    Stopped
        See `stop_all`.
    Exception
        ONNX Runtime raises errors of many kinds.
    """
    check_process(session)
    options = _run_options.get() or load().RunOptions()
    with stoppable(functools.partial(setattr, options, "terminate", True)):
        return session.run(names, feeds, options)


def input_dtype(session: onnxruntime.InferenceSession) -> str:
    """The element type of a session's first input, as NumPy names it.

    Raises
    ------
    ModelError
        No image can be converted to that type.
    """
    name = session.get_inputs()[0].type
    if name not in _INPUT_DTYPES:
        known = ", ".join(_INPUT_DTYPES)
        raise ModelError(f"The model's input is a {name}; one of {known} was expected. Export it with a float32 input.")
    return _INPUT_DTYPES[name]
