"""The networks that are measured, as the files that each method wants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx

from secam_onnx.default_model import default_model
from secam_onnx.head import FEATURES

__all__ = ["NETWORKS", "PHOTO", "ROOT", "model_file", "plain_file"]

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "docs" / "chelsea.png"

NETWORKS = {
    "default": "EfficientNet-Lite0",
    "resnet50": "ResNet50",
    "inception_v3": "Inception-v3",
    "vgg16": "VGG16",
}
"""Key -> name for people. All but the default are torchvision's, with random weights, seed 0."""

# Exported in a process of its own, so that PyTorch and its threads are not in the one that is timed.
EXPORT = """
import sys
sys.path.insert(0, "tests/support")
try:
    import torchvision
except RuntimeError:
    import torchvision_cpu  # the development machines have no CPU build of torchvision
from secam_onnx.export import export_model, open_source
export_model(open_source(sys.argv[1], "none", 0), sys.argv[2])
"""


def model_file(name: str, cache: Path) -> Path:
    """The explainable file of one network; exported on first use."""
    if name == "default":
        return default_model()
    path = cache / f"{name}.onnx"
    if not path.exists():
        subprocess.run([sys.executable, "-c", EXPORT, name, path.absolute()], check=True, cwd=ROOT)
    return path


def plain_file(path: Path, target: Path) -> Path:
    """The same network as its exporter wrote it, without the output that this package adds; for the peers."""
    model = onnx.load(path)
    for output in [entry for entry in model.graph.output if entry.name == FEATURES]:
        model.graph.output.remove(output)
    del model.metadata_props[:]
    onnx.save(model, target)
    return target
