"""The networks of the tests' matrix, as files.

    python tools/real_files/matrix.py torchvision FOLDER

Each framework's files are written with the Python that has it: torchvision, caffe2 (which the onnx wheel carries),
keras, tensorflow (with tf2onnx), paddle (with paddle2onnx). What is there already is left as it is.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))

from cells import CAFFE2, CLASS_TOKEN, KERAS, PADDLE, PYTORCH, TENSORFLOW


def torchvision(folder: Path) -> None:
    """Both exporters of PyTorch."""
    import torchvision_cpu  # noqa: F401  (before torchvision)
    from torchvision_networks import built, write

    for name, cell in PYTORCH.items():
        if " " in name:  # another output of a file that is written already
            continue
        outputs = ["logits", "aux1", "aux2"] if cell.output else ["logits"]
        for exporter in ("torchscript", "dynamo"):
            path = folder / f"torchvision-{name}-{exporter}.onnx"
            if not path.exists():
                write(built(name, cell.size), cell.size, exporter, path, outputs)
    _class_token(folder)


def _class_token(folder: Path) -> None:
    import torch
    from torchvision.models import VisionTransformer
    from torchvision_networks import write

    ((name, cell),) = CLASS_TOKEN.items()
    torch.manual_seed(0)
    sizes = {"num_layers": 3, "num_heads": 3, "hidden_dim": 48, "mlp_dim": 96, "num_classes": 10}
    network = VisionTransformer(image_size=cell.size, patch_size=16, **sizes).eval()
    torch.nn.init.normal_(network.heads.head.weight)
    write(network, cell.size, "dynamo", folder / f"torchvision-{name}-dynamo.onnx", ["logits"])


def caffe2(folder: Path) -> None:
    """The files of the onnx wheel."""
    import onnx

    for name in CAFFE2:
        source = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
        shutil.copy(source, folder / f"caffe2-{name}.onnx")


def _of_keras(name: str, size: int) -> object:
    import keras
    import numpy as np
    from keras_networks import enliven

    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(weights=None)
    enliven(network, np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32))
    return network


def keras(folder: Path) -> None:
    """Keras's own exporter, with the backend PyTorch."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import secam_onnx.export.keras  # noqa: F401  (sets Keras up as `secam-onnx export` does)

    for name, cell in KERAS.items():
        path = folder / f"keras-{name}.onnx"
        if not path.exists():
            _of_keras(name, cell.size).export(path, format="onnx", verbose=False)  # type: ignore[attr-defined]


def tensorflow(folder: Path) -> None:
    """Keras's networks through TensorFlow and tf2onnx."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import tensorflow as tf
    import tf2onnx

    for name, cell in TENSORFLOW.items():
        path = folder / f"tensorflow-{name}.onnx"
        if not path.exists():
            network = _of_keras(name, cell.size)
            spec = [tf.TensorSpec((None, cell.size, cell.size, 3), tf.float32, name="image")]
            function = tf.function(lambda image, network=network: network(image), input_signature=spec)
            tf2onnx.convert.from_function(function, spec, opset=18, output_path=str(path))


def paddle(folder: Path) -> None:
    """Networks of PaddlePaddle through paddle2onnx."""
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"  # paddle2onnx installs packages otherwise
    written = importlib.import_module("test_paddle").write
    for name in PADDLE:
        if not (folder / f"paddle-{name}.onnx").exists():
            written(name, folder)
            (folder / f"{name}.onnx").rename(folder / f"paddle-{name}.onnx")
            (folder / f"{name}.npz").unlink()


FRAMEWORKS: dict[str, Callable[[Path], None]] = {
    function.__name__: function for function in (torchvision, caffe2, keras, tensorflow, paddle)
}

if __name__ == "__main__":
    place = Path(sys.argv[2])
    place.mkdir(parents=True, exist_ok=True)
    FRAMEWORKS[sys.argv[1]](place)
