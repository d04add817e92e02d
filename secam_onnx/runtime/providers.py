"""Execution providers: from what a user asks for to ONNX Runtime's names."""

from __future__ import annotations

from collections.abc import Sequence

from secam_onnx.errors import OptionError, ProviderError
from secam_onnx.runtime.installation import load

__all__ = ["CPU", "CUDA", "Providers", "resolve_providers"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

Providers = str | Sequence[str]
"""`"auto"`, `"cpu"`, `"cuda"`, or ONNX Runtime's own provider names in order of preference."""

_SHORT_NAMES = {"cpu": CPU, "cuda": CUDA}


def resolve_providers(providers: Providers) -> tuple[list[str], str | None]:
    """Turn a request into ONNX Runtime's provider names.

    Parameters
    ----------
    providers : str or sequence of str
        `"auto"` (CUDA if it is available, else the CPU), `"cpu"`, `"cuda"`, or full provider names.

    Returns
    -------
    names : list of str
        The providers of a session, in order; the CPU is always last.
    required : str or None
        The provider that must not be replaced silently: the first one that was asked for by name.

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
