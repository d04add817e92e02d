"""Heads of several kinds, fitted so that they answer as the linear head of the default model does.

Weights are plain arrays. `logits` runs a head on pooled features, `with_head` puts it behind the default model's
backbone, as the ONNX nodes that exporters write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import nn

from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.default_model import default_model

__all__ = [
    "EPSILONS",
    "HEADS",
    "Data",
    "Weights",
    "agreement",
    "as_confident",
    "fit",
    "linear_head",
    "logits",
    "with_head",
]

Weights = Mapping[str, np.ndarray]

HIDDEN = 512
HEADS = {
    "linear": "GAP, FC: the default model's own head",
    "relu": "GAP, FC 512, ReLU, FC",
    "hardswish": "GAP, FC 512, HardSwish, FC, as in MobileNetV3",
    "gelu": "GAP, FC 512, GELU, FC",
    "layernorm": "GAP, LayerNorm (epsilon 1e-6), FC, as in ConvNeXt",
    "layernorm-tiny": "the same weights with epsilon 1e-12",
}
EPSILONS = {"layernorm": 1e-6, "layernorm-tiny": 1e-12}
_CURVES = {"relu": nn.ReLU, "hardswish": nn.Hardswish, "gelu": nn.GELU}
_NODES = {"relu": "Relu", "hardswish": "HardSwish", "gelu": "Gelu"}
_TEMPERATURE = 2.0
_BATCH = 192
_SAMPLE = 6000  # pictures for the start of a head with two layers


@dataclass(frozen=True)
class Data:
    """Pooled features `(n, C)` and logits `(n, classes)` of the linear head, float32."""

    features: np.ndarray
    logits: np.ndarray


def linear_head() -> Weights:
    """Weights of the default model's head."""
    model = onnx.load(default_model())
    metadata = ModelMetadata.of(model)
    assert metadata is not None
    weight = next(name for name in metadata.head.weights if "weight" in name)
    values = {tensor.name.removesuffix(".float16"): tensor for tensor in model.graph.initializer}
    bias = next(name for name in values if name == weight.replace("weight", "bias"))
    return {name: numpy_helper.to_array(values[of]).astype(np.float32) for name, of in (("w2", weight), ("b2", bias))}


def fit(kind: str, data: Data, linear: Weights, steps: int, seed: int) -> Weights:
    """Distil the linear head into one of another kind.

    What the linear head says can be asked of any features, so batches hold more than crops (`_batch`).
    """
    torch.manual_seed(seed)
    features, classes = torch.from_numpy(data.features), data.logits.shape[1]
    teacher = nn.Linear(features.shape[1], classes)
    teacher.load_state_dict({"weight": torch.from_numpy(linear["w2"]), "bias": torch.from_numpy(linear["b2"])})
    network = (_normalised if kind in EPSILONS else _two_layers)(kind, features, teacher)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-4, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = _batch(features, _BATCH)
        with torch.no_grad():
            target = teacher(batch)
        given = network(batch)
        soft = nn.functional.kl_div(
            (given / _TEMPERATURE).log_softmax(1), (target / _TEMPERATURE).softmax(1), reduction="batchmean"
        )
        apart = (given - given.mean(1, keepdim=True)) - (target - target.mean(1, keepdim=True))
        loss = _TEMPERATURE**2 * soft + 0.5 * apart.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    names = {"0.weight": "w1", "0.bias": "b1", "1.weight": "w2", "1.bias": "b2", "2.weight": "w2", "2.bias": "b2"}
    return {names[name]: value.numpy() for name, value in network.state_dict().items()}


def _batch(features: torch.Tensor, count: int) -> torch.Tensor:
    """A third each: crops, mixtures of two, and two whose channels cross over."""
    one, other = (features[torch.randint(len(features), (count,))] for _ in range(2))
    share = torch.rand(count, 1)
    crossing = (torch.rand(count, features.shape[1]) < share).float()
    place = torch.arange(count)[:, None]
    share = torch.where(place < count // 3, 1.0, torch.where(place < 2 * count // 3, share, crossing))
    return share * one + (1 - share) * other


@torch.no_grad()
def _normalised(kind: str, features: torch.Tensor, teacher: nn.Linear) -> nn.Sequential:
    """Started where the layer normalisation has the mean and deviation of the average crop."""
    classes, channels = teacher.weight.shape
    network = nn.Sequential(nn.LayerNorm(channels, eps=EPSILONS[kind]), nn.Linear(channels, classes))
    network[1].weight.copy_(teacher.weight * features.std(1).mean())
    network[1].bias.copy_(teacher.bias + teacher.weight.sum(1) * features.mean())
    return network


@torch.no_grad()
def _two_layers(kind: str, features: torch.Tensor, teacher: nn.Linear) -> nn.Sequential:
    """Started with what the teacher reads, randomly rotated, in the curved range of the activation, then least squares.

    From random weights such heads agree on 15 % of held-out crops only: there are too few photographs.
    """
    classes, channels = teacher.weight.shape
    network = nn.Sequential(nn.Linear(channels, HIDDEN), _CURVES[kind](), nn.Linear(HIDDEN, classes))
    _, sizes, axes = torch.linalg.svd(teacher.weight - teacher.weight.mean(0), full_matrices=False)
    rotation, _ = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN))
    read = rotation @ (sizes[:HIDDEN, None] * axes[:HIDDEN])
    sample = _batch(features, _SAMPLE)
    read = read / (sample @ read.T).std(0, keepdim=True).T
    network[0].weight.copy_(read)
    network[0].bias.copy_(-(sample @ read.T).mean(0) + 0.5 * torch.randn(HIDDEN) - 0.5)
    hidden = torch.cat([network[1](network[0](sample)), torch.ones(len(sample), 1)], dim=1)
    ridge = 1e-3 * len(sample) * torch.eye(HIDDEN + 1)
    solved = torch.linalg.solve(hidden.T @ hidden + ridge, hidden.T @ teacher(sample)).T
    network[2].weight.copy_(solved[:, :-1])
    network[2].bias.copy_(solved[:, -1])
    return network


def logits(kind: str, weights: Weights, pooled: np.ndarray) -> np.ndarray:
    """Run a head: `(n, C)` to `(n, classes)`."""
    x = torch.tensor(pooled)
    values = {name: torch.tensor(value) for name, value in weights.items()}
    if kind in EPSILONS:
        x = nn.functional.layer_norm(x, x.shape[1:], values["w1"], values["b1"], EPSILONS[kind])
    elif kind != "linear":
        x = _CURVES[kind]()(x @ values["w1"].T + values["b1"])
    return (x @ values["w2"].T + values["b2"]).numpy()


def agreement(kind: str, weights: Weights, data: Data) -> dict[str, float]:
    """How closely a head follows the linear one: share of equal top classes, and the correlation of centred logits."""
    given = logits(kind, weights, data.features)
    one, other = (value - value.mean(1, keepdims=True) for value in (given, data.logits))
    return {
        "top1": float((given.argmax(1) == data.logits.argmax(1)).mean()),
        "correlation": float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())),
    }


def as_confident(kind: str, weights: Weights, data: Data) -> Weights:
    """The same head with its logits times one number, so that it is as sure of its top classes as the linear head.

    Fitted heads are less sure of photographs that they do not know, and curves of small probabilities tell little. The
    number changes the size of every map alike.
    """
    given, wanted = logits(kind, weights, data.features), _confidence(data.logits)
    low, high = 0.1, 10.0
    for _ in range(30):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if _confidence(middle * given) < wanted else (low, middle)
    return {**weights, "w2": weights["w2"] * np.float32(low), "b2": weights["b2"] * np.float32(low)}


def _confidence(values: np.ndarray) -> float:
    return float((1 / np.exp(values - values.max(axis=1, keepdims=True)).sum(axis=1)).mean())


def with_head(kind: str, weights: Weights) -> ModelProto:
    """The default model's backbone with a head of this kind: an ordinary ONNX classifier."""
    model = onnx.load(default_model())
    metadata = ModelMetadata.of(model)
    assert metadata is not None
    features, image = metadata.head.features, model.graph.input[0].name
    body = onnx.utils.Extractor(model).extract_model([image], [features])
    body.graph.node.extend(_nodes(kind, features))
    body.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    del body.graph.output[:]
    classes = len(weights["b2"])
    body.graph.output.append(helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [None, classes]))
    del body.metadata_props[:]
    onnx.checker.check_model(body)
    return body


def _nodes(kind: str, features: str) -> list[NodeProto]:
    nodes = [
        helper.make_node("GlobalAveragePool", [features], ["head_pooled"]),
        helper.make_node("Flatten", ["head_pooled"], ["head_flat"]),
    ]
    if kind in EPSILONS:
        names = ["head_flat", "w1", "b1"]
        nodes.append(helper.make_node("LayerNormalization", names, ["head_x"], epsilon=EPSILONS[kind]))
    elif kind != "linear":
        nodes.append(helper.make_node("Gemm", ["head_flat", "w1", "b1"], ["head_hidden"], transB=1))
        nodes.append(helper.make_node(_NODES[kind], ["head_hidden"], ["head_x"]))
    last = nodes[-1].output[0]
    return [*nodes, helper.make_node("Gemm", [last, "w2", "b2"], ["logits"], transB=1)]
