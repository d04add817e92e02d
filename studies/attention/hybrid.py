"""A hybrid: EfficientNet-Lite0 up to its 14 x 14 map, as trained on ImageNet, then four blocks that are fitted here.

The blocks and the head learn the groups of photographs on crops; the convolutions stay as they are. The head takes the
mean of the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from secam_onnx.default_model import default_model
from studies.attention.photographs import GROUPS, Photograph, crops
from studies.attention.transformer import MEAN, Head, Transformer
from studies.attributions.learning import LITE

__all__ = ["Hybrid", "fitted"]

MAP, CHANNELS = "add_530", 112  # the last map of 14 x 14 cells in the default model
DEPTH, WIDTH, HEADS, GRID = 4, 128, 4, (14, 14)
CROPS, STEPS, BATCH, RATE = 8, 200, 32, 1e-3
DROPOUT = 0.1


class Hybrid(Transformer):
    """Tokens are the cells of a convolutional map; there is no class token."""

    def __init__(self) -> None:
        super().__init__(DEPTH, WIDTH, HEADS, GRID, prefix=0)
        self.entry = nn.Linear(CHANNELS, WIDTH)
        self.head = nn.Linear(WIDTH, len(GROUPS))
        nn.init.trunc_normal_(self.positions, std=0.02)
        model = onnx.load(default_model())
        model.graph.output.extend([onnx.ValueInfoProto(name=MAP)])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._trunk = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def convolved(self, pictures: np.ndarray) -> Tensor:
        """`(n, 224, 224, 3)` uint8 to `(n, 196, 112)`."""
        inputs = np.concatenate([LITE.normalise(picture) for picture in pictures])
        (found,) = self._trunk.run([MAP], {"image": inputs})
        return torch.from_numpy(found).flatten(2).transpose(1, 2)

    def from_map(self, convolved: Tensor) -> Tensor:
        """Tokens `(n, 196, 128)` from the convolutional map."""
        return self.entry(convolved) + self.positions

    def embed(self, pictures: np.ndarray) -> Tensor:
        return self.from_map(self.convolved(pictures))


def fitted(photographs: Sequence[Photograph], cache: Path) -> tuple[Hybrid, Head]:
    """The network, its blocks and head fitted to photographs; weights are kept in a file."""
    torch.manual_seed(0)
    network = Hybrid()
    if cache.is_file():
        network.load_state_dict(torch.load(cache))
    else:
        _fit(network, photographs)
        torch.save(network.state_dict(), cache)
    network.eval().requires_grad_(False)
    return network, Head(MEAN, network.head.weight, network.head.bias)


def _fit(network: Hybrid, photographs: Sequence[Photograph]) -> None:
    random = np.random.default_rng(3)
    maps, groups = [], []
    for entry in photographs:
        maps.append(network.convolved(np.stack(list(crops(entry, CROPS, random)))).half())
        groups += [entry.group] * CROPS
    rows, target = torch.cat(maps), torch.tensor(groups)
    network.entry.weight.data /= rows[::7].float().std()
    share = torch.bincount(target, minlength=len(GROUPS)).clamp(min=1).float()
    chance = (1 / share.sqrt())[target]
    loss = nn.CrossEntropyLoss(label_smoothing=0.05)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    for step in range(STEPS):
        chosen = torch.multinomial(chance, BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = network.from_map(nn.functional.dropout(rows[chosen].float(), DROPOUT))
            pooled = network.pool(network.through(tokens), MEAN)
        value = loss(network.head(pooled.float()), target[chosen])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"hybrid, step {step}: {value.item():.3f}", flush=True)
