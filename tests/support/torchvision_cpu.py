"""Makes torchvision import beside a CPU build of PyTorch.

The wheel of torchvision is built for CUDA; without it, its binary does not load and two operators are missing that it
wants to see at import. Users have matching builds and need none of this.
"""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    _library = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
