"""Trained models of other formats, written as ONNX by the converters that people use.

    python tools/real_files/converting.py keras model.h5 model.onnx

Needs tf2onnx and TensorFlow for `keras`, `tflite`, `graphdef` and `tfjs`, and Node.js for `tfjs`; PyTorch and
torchvision for the others. Only weights are read from checkpoints of PyTorch, never pickled code.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPSET = 15
NODE = """
const fs = require("fs"), path = require("path"), folder = process.argv[1];
const model = require(path.resolve(folder, "model.min.js"));
const shards = model.weightsManifest.flatMap((group) => group.paths);
const read = (shard) => require(path.resolve(folder, shard + ".min.js"));
process.stdout.write(JSON.stringify({ model, shards: shards.map(read) }));
"""


def keras(source: Path, target: Path) -> None:
    """Keras's own files."""
    import tensorflow as tf

    model = tf.keras.models.load_model(source, compile=False)
    _from_function(model, model.input_shape, target)


def _from_function(model: Any, shape: tuple[int | None, ...], target: Path) -> None:
    import tensorflow as tf
    import tf2onnx

    spec = tf.TensorSpec(shape, tf.float32, name="image")
    function = tf.function(lambda image: model(image, training=False), input_signature=[spec])
    tf2onnx.convert.from_function(function, [spec], opset=OPSET, output_path=str(target))


def tflite(source: Path, target: Path) -> None:
    """TensorFlow Lite."""
    import tf2onnx

    tf2onnx.convert.from_tflite(str(source), opset=OPSET, output_path=str(target))


def graphdef(source: Path, target: Path) -> None:
    """A frozen graph of TensorFlow 1, as its retraining tutorial wrote them."""
    names = [
        "--inputs",
        "input:0",
        "--outputs",
        "final_result:0",
        "--use_default",
        "input_1/BottleneckInputPlaceholder",
    ]
    command = [sys.executable, "-m", "tf2onnx.convert", "--graphdef", source, "--output", target]
    subprocess.run([*command, "--opset", str(OPSET), *names], check=True)


def tfjs(source: Path, target: Path) -> None:
    """A layers model of TensorFlow.js whose parts a package carries as JavaScript; `source` is its `model.min.js`."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import numpy as np
    import tensorflow as tf

    text = subprocess.run(["node", "-e", NODE, str(source.parent)], check=True, capture_output=True, text=True).stdout
    parts = json.loads(text)
    buffer = b"".join(base64.b64decode(shard) for shard in parts["shards"])
    stored, at = {}, 0
    for group in parts["model"]["weightsManifest"]:
        for weight in group["weights"]:
            packed = weight.get("quantization")
            dtype = np.dtype(packed["dtype"] if packed else weight["dtype"])
            count = int(np.prod(weight["shape"], dtype=int))
            values = np.frombuffer(buffer, dtype, count, at)
            at += count * dtype.itemsize
            if packed:
                values = (values * packed["scale"] + packed["min"]).astype(np.float32)
            stored[weight["name"]] = values.reshape(weight["shape"])
    topology = parts["model"]["modelTopology"]
    model = tf.keras.models.model_from_json(json.dumps(topology["model_config"]))
    model.set_weights([stored[weight.name.removesuffix(":0")] for weight in model.weights])
    _from_function(model, model.input_shape, target)


def efficientnet_b0(source: Path, target: Path) -> None:
    """EfficientNet-B0 of torchvision with one logit."""
    import torch
    import torchvision

    network = torchvision.models.efficientnet_b0(weights=None)
    network.classifier = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(1280, 1))
    _from_torch(network, source, target, 224)


def efficientnet_lite0(source: Path, target: Path) -> None:
    """EfficientNet-Lite0 of the package efficientnet-lite-pytorch."""
    from efficientnet_lite_pytorch import EfficientNet

    _from_torch(EfficientNet.from_name("efficientnet-lite0"), source, target, 224)


def _from_torch(network: Any, source: Path, target: Path, size: int) -> None:
    import torch

    network.load_state_dict(torch.load(source, map_location="cpu", weights_only=True))
    axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    names = {"input_names": ["image"], "output_names": ["logits"]}
    image = torch.zeros(2, 3, size, size)
    torch.onnx.export(network.eval(), (image,), target, dynamo=False, dynamic_axes=axes, opset_version=17, **names)


CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    function.__name__: function for function in (keras, tflite, graphdef, tfjs, efficientnet_b0, efficientnet_lite0)
}

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))
    if sys.argv[1].startswith("efficientnet"):
        import torchvision_cpu  # noqa: F401
    CONVERTERS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
