"""ONNX Runtime: which wheel is installed, which execution provider works, and how sessions are opened.

The CPU wheel (`onnxruntime`) and the GPU wheel (`onnxruntime-gpu`) share one import name and clobber each other, so
neither is a base dependency and this module is the only one that imports `onnxruntime`.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib.metadata
import io
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secam_onnx.errors import MissingDependencyError, ModelError, OptionError, ProviderError
from secam_onnx.forks import check_process, needs_threads
from secam_onnx.threads import thread_limit

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

__all__ = [
    "CPU",
    "CUDA",
    "Interrupt",
    "Providers",
    "Weights",
    "load",
    "open_as_it_is",
    "open_session",
    "resolve_providers",
    "run",
]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

Providers = str | Sequence[str]
"""`"auto"`, `"cpu"`, `"cuda"`, or ONNX Runtime's own provider names in order of preference."""


@dataclass(frozen=True)
class Weights:
    """Values of initializers that a model declares as external data.

    Attributes
    ----------
    shared : dict of str to ndarray
        Those that lie in files as well, writeable; sessions compute with these very arrays, keep alive what they need,
        and look into the files only while they optimise the graph.
    root : str
        The folder that the files' locations are relative to.
    copied : dict of str to ndarray
        Those that lie in no file, whose location means nothing; each session makes a copy.
    """

    shared: dict[str, np.ndarray] = field(default_factory=dict)
    root: str = ""
    copied: dict[str, np.ndarray] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.shared or self.copied)

    def get(self, name: str) -> np.ndarray | None:
        """The value of one of them, if it is among them."""
        return self.shared.get(name, self.copied.get(name))


_INPUT_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
}
_SHORT_NAMES = {"cpu": CPU, "cuda": CUDA}
_FATAL = 4  # ONNX Runtime's log severity above which only a crash is printed


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@functools.cache
def load() -> Any:
    """Import ONNX Runtime, once it is sure that exactly one of its two wheels is installed.

    Returns
    -------
    module
        `onnxruntime`.

    Raises
    ------
    MissingDependencyError
        Neither wheel is installed, both are, or the one that is does not import.
    """
    cpu, gpu = _installed("onnxruntime"), _installed("onnxruntime-gpu")
    if cpu and gpu:
        raise MissingDependencyError(
            "Both onnxruntime and onnxruntime-gpu are installed; they overwrite each other's files. Remove both, then "
            'install one: pip uninstall -y onnxruntime onnxruntime-gpu && pip install "secam-onnx[cpu]" (or [gpu]).'
        )
    # From 1.32 on it keeps an identifier of the device and a record of its use in the user's folder otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime

        onnxruntime.InferenceSession  # noqa: B018  (an uninstalled wheel can leave an empty package behind)
    except (ImportError, AttributeError) as error:
        if cpu or gpu:
            raise MissingDependencyError(
                f"ONNX Runtime is installed but does not import ({error}). Reinstall it: pip install --force-reinstall "
                f"{'onnxruntime' if cpu else 'onnxruntime-gpu'}."
            ) from error
        raise MissingDependencyError(
            'ONNX Runtime is not installed. Install one of its two builds: pip install "secam-onnx[cpu]", or '
            'pip install "secam-onnx[gpu]" for NVIDIA cards.'
        ) from error
    return onnxruntime


def resolve_providers(providers: Providers) -> tuple[list[str], str | None]:
    """Turn a request into ONNX Runtime's provider names.

    Parameters
    ----------
    providers : str or sequence of str
        `"auto"` (CUDA where it can be had, else the CPU), `"cpu"`, `"cuda"`, or full provider names.

    Returns
    -------
    names : list of str
        What to hand to a session; the CPU is always the last.
    required : str or None
        The provider that must not be silently replaced: the first one asked for by name.

    Raises
    ------
    OptionError
        A name that this build of ONNX Runtime does not have.
    ProviderError
        CUDA was asked for and this is the CPU build.
    """
    available = load().get_available_providers()
    if providers == "auto":
        return ([CUDA, CPU] if CUDA in available else [CPU]), None
    asked = [providers] if isinstance(providers, str) else list(providers)
    names = [_SHORT_NAMES.get(name.lower(), name) for name in asked]
    if not names:
        raise OptionError("The list of providers is empty; name one, or use 'auto'.")
    for name in names:
        if name in available:
            continue
        if name == CUDA:
            raise ProviderError(
                "CUDA was asked for, but this ONNX Runtime is the CPU build. Run pip uninstall -y onnxruntime, then "
                'pip install "secam-onnx[gpu]".'
            )
        raise OptionError(
            f"Unknown provider {name!r}; this ONNX Runtime has {', '.join(available)} (or use 'auto', 'cpu', 'cuda')."
        )
    return list(dict.fromkeys([*names, CPU])), names[0]


def open_session(
    model: bytes | str | os.PathLike[str],
    providers: Providers = "auto",
    *,
    weights: Weights | None = None,
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
    weights : Weights, optional
        Values of initializers that the model declares as external data.
    prepack : bool
        Copy such matrices into the order that the kernels run fastest with.
    integer_kernels : bool
        Run what lies between a DequantizeLinear and a QuantizeLinear in integers.
    threads : int, optional
        How many threads one run may take on the CPU; all cores by default.

    Raises
    ------
    ModelError
        ONNX Runtime does not accept the model.
    ProviderError
        A provider asked for by name cannot start on this machine.
    """
    ort = load()
    names, required = resolve_providers(providers)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads if threads is not None else thread_limit() or 0  # 0: all cores
    # Worker threads that spin after a run, for up to 0.1 s, would take the cores from the superpixels, which are made
    # at the same time, and from the other session; smaller blocks of work let a shared core be made up for. On two
    # cores that took explain / forward for ResNet50 from 2.1 to 1.6, with the forward pass alone as fast as before.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.dynamic_block_base", "4")
    # Planning ahead where tensors lie takes a second copy of them all from the second run on, and is no faster.
    options.enable_mem_pattern = False
    if not integer_kernels:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    shared: dict[str, onnxruntime.OrtValue] = {}
    if weights:
        # Packing would make a second copy of every matrix that was just shared.
        options.add_session_config_entry("session.disable_prepacking", "0" if prepack else "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", weights.root)
        # Read by us and not by ONNX Runtime, which maps the files into memory: a file that is written anew would end
        # the process. Handed over by DLPack, each array lives until no session needs it any more, which for most is
        # as soon as they are packed.
        shared = {name: ort.OrtValue.from_dlpack(value) for name, value in weights.shared.items()}
        for name, value in shared.items():
            options.add_initializer(name, value)
        copied = [ort.OrtValue.ortvalue_from_numpy(value) for value in weights.copied.values()]
        options.add_external_initializers(list(weights.copied), copied)
    wants_cuda = CUDA in names
    options.log_severity_level = _FATAL  # what goes wrong is raised, in our words, not logged in colours
    if wants_cuda:
        # So is a missing driver, of which the library itself would log a page.
        ort.set_default_logger_severity(_FATAL)
        _preload_cuda()
    source = model if isinstance(model, bytes) else str(Path(model))
    name = "the model" if isinstance(source, bytes) else source
    try:
        session = ort.InferenceSession(source, options, providers=names)
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime cannot open {name}: {_first_line(error)}. "
            "Check the file with onnx.checker, or export it again."
        ) from error
    finally:
        if wants_cuda:
            ort.set_default_logger_severity(2)
    needs_threads(session)
    session.disable_fallback()  # to another provider; the shared values would be gone by then
    if required is not None and required not in session.get_providers():
        raise ProviderError(
            f"{required} was asked for but could not start on this machine (no GPU, or its driver, CUDA or cuDNN "
            "libraries are missing). Use providers='auto' or 'cpu' (--provider cpu), or install the NVIDIA driver and "
            'pip install "secam-onnx[gpu]".'
        )
    return session


_preloading = threading.Lock()


def _preload_cuda() -> None:
    # One thread at a time: two that redirect the standard output at once leave it redirected.
    with _preloading, contextlib.redirect_stdout(io.StringIO()):
        load().preload_dlls()


def open_as_it_is(path: str | os.PathLike[str], threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a file as anybody would: by its path, with ONNX Runtime's own options, on the CPU.

    Raises
    ------
    ModelError
        ONNX Runtime does not accept it.
    """
    ort = load()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads if threads is not None else thread_limit() or 0
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # which changes no number
    file: bytes | str = os.fspath(path)
    try:
        str(file).encode()
    except UnicodeEncodeError:  # a name that is no Unicode, which ONNX Runtime does not take
        file = Path(path).read_bytes()
    try:
        session = ort.InferenceSession(file, options, providers=[CPU])
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime cannot open {path} as it is: {_first_line(error)}. Check the file with onnx.checker, or "
            "export it again."
        ) from error
    needs_threads(session)
    return session


class Interrupt:
    """Ends runs from another thread: those within its `with` block, and those that would follow there.

    They end with an error, between two nodes of the graph. One block an instance, in one thread.
    """

    def __init__(self) -> None:
        self._options = load().RunOptions()

    def stop(self) -> None:
        """End them; from any thread."""
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
    """Run a session, so that an `Interrupt` can end it; `names` are of its outputs, `feeds` for its inputs.

    Raises
    ------
    ForkError
        This process was forked from the one that opened the session.
    Exception
        ONNX Runtime's own, of many kinds.
    """
    check_process(session)
    return session.run(names, feeds, _run_options.get())


def input_dtype(session: onnxruntime.InferenceSession) -> str:
    """The element type of a session's first input, by numpy's name.

    Raises
    ------
    ModelError
        It is none that an image can be given in.
    """
    name = session.get_inputs()[0].type
    if name not in _INPUT_DTYPES:
        known = ", ".join(_INPUT_DTYPES)
        raise ModelError(f"The model's input is a {name}; one of {known} was expected. Export it with a float32 input.")
    return _INPUT_DTYPES[name]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
