"""SeCAM for ONNX: which superpixels carried an image classifier's decision, from one forward pass.

>>> import secam_onnx
>>> explanation = secam_onnx.Explainer().explain("photo.jpg")  # doctest: +SKIP
>>> explanation.panel().save("why.png")  # doctest: +SKIP

To read the code, begin with `pipeline/steps.py` for an image and with `classifier/open.py` for a model. The rooms, from
the ground up:

- modules beside this one: errors, checks of arguments, files; `runtime/`: ONNX Runtime
- `labels/`, `graph/`, `superpixels/`, `photograph/`: class names, ONNX graphs, label maps, the model's input
- `head/`, then `classifier/`: from the logits back to the feature map; a model, opened
- `explanation/`, `pipeline/`, `explainer`, `heads`: results, the steps to them, the public classes
- `fusion/`, `export/`, `batch/`, `bench/`, `page/`, `serve/`, `cli/`: all that builds on these
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secam_onnx.errors import SecamError as SecamError
    from secam_onnx.explainer import Explainer as Explainer
    from secam_onnx.explanation import Explanation as Explanation
    from secam_onnx.explanation import Prediction as Prediction
    from secam_onnx.export.explainable_file import fuse as fuse
    from secam_onnx.fusion import Fusion as Fusion
    from secam_onnx.head_query import HeadQuery as HeadQuery
    from secam_onnx.heads import Heads as Heads
    from secam_onnx.photograph.preprocessing import Preprocessing as Preprocessing
    from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings as PreprocessingSettings
    from secam_onnx.superpixels import Segmenter as Segmenter
    from secam_onnx.superpixels.selection import Selection as Selection

# Everything is loaded at first use: `import secam_onnx` costs milliseconds, and no command pays for another's imports.
_HOMES = {
    "Explainer": "explainer",
    "Explanation": "explanation",
    "Fusion": "fusion",
    "HeadQuery": "head_query",
    "Heads": "heads",
    "Prediction": "explanation",
    "Preprocessing": "photograph.preprocessing",
    "PreprocessingSettings": "photograph.preprocessing_settings",
    "SecamError": "errors",
    "Segmenter": "superpixels",
    "Selection": "superpixels.selection",
    "fuse": "export",
}

__all__ = [  # noqa: PLE0604  (strings, spelled once)
    *_HOMES
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"secam_onnx.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
