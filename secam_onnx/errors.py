"""The errors a user can meet: one family, `SecamError`, which the command line prints without traceback.

Every message says what was found, what was expected and what to do.
"""

__all__ = [
    "ClassError",
    "FidelityError",
    "ForkError",
    "HeadError",
    "ImageError",
    "MissingDependencyError",
    "ModelError",
    "OptionError",
    "OutputError",
    "PreprocessingWarning",
    "ProviderError",
    "SecamError",
]


class SecamError(Exception):
    """Base of all errors that secam-onnx raises on purpose."""


class ModelError(SecamError):
    """The model file cannot be read, or it is not a classifier that can be explained."""


class FidelityError(ModelError):
    """The model gives other outputs here than its file does in plain ONNX Runtime; the message has both numbers."""


class HeadError(ModelError):
    """The way from the feature map to the logits is not understood; the message names the node and the reason."""


class ImageError(SecamError):
    """The image cannot be read or does not hold a picture."""


class ClassError(SecamError, LookupError):
    """A class name or index that the model does not have."""


class OptionError(SecamError, ValueError):
    """An argument outside its range, or arguments that contradict each other."""


class ForkError(SecamError, RuntimeError):
    """A forked process was left with what only its parent can use."""


class OutputError(SecamError, OSError):
    """A result cannot be written."""


class ProviderError(SecamError, RuntimeError):
    """The execution provider that was asked for cannot be used."""


class MissingDependencyError(SecamError, ImportError):
    """A package that this step needs is not installed."""


class PreprocessingWarning(UserWarning):
    """The preprocessing does what the graph does as well, or does not do what the graph is made for."""
