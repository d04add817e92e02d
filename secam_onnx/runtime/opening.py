"""Opening inference sessions, on the provider that was asked for and on no other."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from secam_onnx.errors import ModelError, ProviderError
from secam_onnx.forks import needs_threads
from secam_onnx.memory import out_of_memory
from secam_onnx.runtime.installation import load
from secam_onnx.runtime.providers import CPU, CUDA, Providers, resolve_providers
from secam_onnx.runtime.shared_weights import SharedWeights
from secam_onnx.runtime.stopping import stoppable
from secam_onnx.threads import thread_limit, usable

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["open_as_it_is", "open_session"]

_FATAL = 4  # ONNX Runtime's log severity above which only a crash is printed


def open_session(
    model: bytes | str | os.PathLike[str],
    providers: Providers = "auto",
    *,
    weights: SharedWeights | None = None,
    prepack: bool = False,
    integer_kernels: bool = True,
    threads: int | None = None,
) -> onnxruntime.InferenceSession:
    """Open an inference session on the provider that was asked for, and on no other.

    Parameters
    ----------
    model : bytes or path
        A serialised model or the file that holds one.
    providers : str or sequence of str
        See `resolve_providers`.
    weights : SharedWeights, optional
        Values of initializers that the model declares as external data.
    prepack : bool
        Copy these matrices into the order in which the kernels run fastest.
    integer_kernels : bool
        Compute in integers between a DequantizeLinear and a QuantizeLinear.
    threads : int, optional
        How many threads a run may use on the CPU, at most four for each core; by default one for each.

    Raises
    ------
    ModelError
        ONNX Runtime does not accept the model.
    ProviderError
        A provider asked for by name cannot start on this machine.
    Stopped
        See `stop_all`.
    """
    ort = load()
    names, required = resolve_providers(providers)
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable(threads) if threads is not None else thread_limit() or 0  # 0: all cores
    # Worker threads that spin after a run, for up to 0.1 s, would take the cores from the superpixels, which are made
    # at the same time, and from the other session; smaller blocks of work balance the load when a core is shared. On
    # two cores that took explain / forward for ResNet50 from 2.1 to 1.6, with the forward pass alone as fast as before.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.dynamic_block_base", "4")
    # Memory patterns take a second copy of all tensors from the second run on, and are no faster.
    options.enable_mem_pattern = False
    if not integer_kernels:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    shared: dict[str, onnxruntime.OrtValue] = {}
    if weights:
        # Packing would copy every matrix that is shared here.
        options.add_session_config_entry("session.disable_prepacking", "0" if prepack else "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", weights.root)
        # We read the values. ONNX Runtime would map the files into memory, and a file that is rewritten would crash the
        # process. An array that is handed over by DLPack lives until no session needs it; most are freed once packed.
        shared = {name: ort.OrtValue.from_dlpack(value) for name, value in weights.shared.items()}
        for name, value in shared.items():
            options.add_initializer(name, value)
        copied = [ort.OrtValue.ortvalue_from_numpy(value) for value in weights.copied.values()]
        options.add_external_initializers(list(weights.copied), copied)
    wants_cuda = CUDA in names
    options.log_severity_level = _FATAL  # errors are raised in our words, not logged in colours
    if wants_cuda:
        # A missing driver is raised as an error too; the library would also log a page about it.
        ort.set_default_logger_severity(_FATAL)
        _preload_cuda()
    source = model if isinstance(model, bytes) else str(Path(model))
    name = "the model" if isinstance(source, bytes) else source
    try:
        session = _opened(source, options, names)
    except Exception as error:
        message = f"ONNX Runtime cannot open {name}: {_reason(error)}"
        raise out_of_memory(error) or ModelError(message) from error
    finally:
        if wants_cuda:
            ort.set_default_logger_severity(2)
    needs_threads(session)
    session.disable_fallback()  # to another provider, when the shared values are gone
    if required is not None and required not in session.get_providers():
        raise ProviderError(
            f"{required} was asked for but could not start on this machine (no GPU, or its driver, CUDA or cuDNN "
            "libraries are missing). Use providers='auto' or 'cpu' (--provider cpu), or install the NVIDIA driver and "
            'pip install "secam-onnx[gpu]".'
        )
    return session


_preloading = threading.Lock()


def _preload_cuda() -> None:
    # One thread at a time: two that redirect standard output at once leave it redirected.
    with _preloading, contextlib.redirect_stdout(io.StringIO()):
        load().preload_dlls()


def open_as_it_is(path: str | os.PathLike[str], threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a file by its path, with ONNX Runtime's defaults, on the CPU: what results are compared with.

    Raises
    ------
    ModelError
        ONNX Runtime does not accept it.
    Stopped
        See `stop_all`.
    """
    ort = load()
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable(threads) if threads is not None else thread_limit() or 0
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # which changes no result
    file: bytes | str = os.fspath(path)
    try:
        str(file).encode()
    except UnicodeEncodeError:  # ONNX Runtime takes only names that are Unicode
        file = Path(path).read_bytes()
    try:
        session = _opened(file, options, [CPU])
    except Exception as error:
        message = f"ONNX Runtime cannot open {path} as it is: {_reason(error)}"
        raise out_of_memory(error) or ModelError(message) from error
    needs_threads(session)
    return session


def _opened(
    source: bytes | str, options: onnxruntime.SessionOptions, names: Sequence[str]
) -> onnxruntime.InferenceSession:
    with stoppable(functools.partial(options.set_load_cancellation_flag, True)):
        # From CUDA it falls back to the CPU; from the CPU to the CPU, and prints so.
        return load().InferenceSession(source, options, providers=names, enable_fallback=len(names) > 1)


def _reason(error: Exception) -> str:
    """Why a session cannot be opened, and what to do."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "pthread_create" in lines[0]:
        return "this system allows no further thread. Raise the limit (ulimit -u), or lower the number of threads."
    return f"{lines[0].rstrip('.')}. Check the file with onnx.checker, or export it again."
