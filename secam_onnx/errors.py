"""The errors that this package raises on purpose: one family, `SecamError`, printed by the command without a traceback.

Every message says what was found, what was expected and what to do. It often quotes a stranger, whose text is shown
as `shown_text` allows; `args` has it as it is.
"""

from secam_onnx.shown_text import shown

__all__ = [
    "REPORT_MODEL",
    "ClassError",
    "DecoderError",
    "FidelityError",
    "ForkError",
    "HeadError",
    "ImageError",
    "MissingDependencyError",
    "ModelError",
    "OptionError",
    "OutOfMemoryError",
    "OutputError",
    "PreprocessingWarning",
    "ProviderError",
    "SecamError",
    "ShownMessage",
]

REPORT_MODEL = "Please report this model at https://github.com/secam-onnx/secam-onnx/issues."
"""Advice at the end of an error that is a bug: the project's issue tracker."""


class ShownMessage(Exception):  # noqa: N818 (warnings are shown, too)
    """An error or a warning whose message is fit for any terminal, also in a traceback."""

    def __str__(self) -> str:
        return shown(super().__str__())


class SecamError(ShownMessage):
    """Base of all errors that secam-onnx raises on purpose."""


class ModelError(SecamError):
    """The model file cannot be read, or it is not a classifier that can be explained."""


class OutOfMemoryError(ModelError):
    """The model needs more memory than there is, or than this process may take."""


class FidelityError(ModelError):
    """The model's outputs differ from those of its file in plain ONNX Runtime; the message gives both."""


class HeadError(ModelError):
    """The nodes between feature map and logits are not understood; the message names the node and the reason."""


class ImageError(SecamError):
    """The image cannot be read, or its values do not make a picture."""


class ClassError(SecamError, LookupError):
    """A class name or index that the model does not have."""


class OptionError(SecamError, ValueError):
    """An argument outside its range, or arguments that contradict each other."""


class DecoderError(SecamError, RuntimeError):
    """No process can be started that decodes images."""


class ForkError(SecamError, RuntimeError):
    """A forked process used what only its parent can use."""


class OutputError(SecamError, OSError):
    """A result cannot be written."""


class ProviderError(SecamError, RuntimeError):
    """The execution provider that was asked for cannot be used."""


class MissingDependencyError(SecamError, ImportError):
    """A package that this step needs is not installed."""


class PreprocessingWarning(ShownMessage, UserWarning):
    """The preprocessing repeats a step of the graph, or leaves out one that the graph needs."""
