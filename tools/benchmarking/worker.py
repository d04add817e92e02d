"""One peer, in its own environment: explains a picture once for every line it is sent, and says how long it took.

    python worker.py METHOD FOLDER

The folder holds what the tool wrote: `job.json`, `inputs.npy` (what the network is fed, ready), `logits.npy` (what it
answers, to be sure that it is the same network) and `model.onnx`. Every method is called as its documentation does,
with its own defaults. Nothing of secam-onnx is imported here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Explain = Callable[[], np.ndarray]


def grad_cam(method: str) -> Callable[[dict[str, Any], Path], Explain]:
    """GradCAM or HiResCAM of pytorch-grad-cam."""

    def open_(job: dict[str, Any], folder: Path) -> Explain:
        import torch
        from torch_networks import open_network  # before what imports torchvision

        import pytorch_grad_cam  # isort: skip
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # isort: skip

        network, layer, _ = open_network(job["network"])
        inputs = torch.from_numpy(np.load(folder / "inputs.npy"))
        targets = [ClassifierOutputTarget(job["class"])]
        cam = getattr(pytorch_grad_cam, method)(model=network, target_layers=[network.get_submodule(layer)])
        explanation = cam(input_tensor=inputs, targets=targets)
        check_logits(cam.outputs.detach().numpy(), folder)
        assert explanation.shape[1:] == inputs.shape[2:]
        return lambda: cam(input_tensor=inputs, targets=targets)[0]

    return open_


def torch_cam(job: dict[str, Any], folder: Path) -> Explain:
    """CAM of torch-cam."""
    import torch
    from torch_networks import open_network
    from torchcam.methods import CAM

    network, layer, fc = open_network(job["network"])
    inputs = torch.from_numpy(np.load(folder / "inputs.npy"))
    with torch.inference_mode():
        check_logits(network(inputs).numpy(), folder)
    cam = CAM(network, layer, fc, input_shape=tuple(inputs.shape[1:]))

    def explain() -> np.ndarray:
        with torch.inference_mode():
            network(inputs)
        return cam(class_idx=job["class"])[0].numpy()

    return explain


def dianna_rise(job: dict[str, Any], folder: Path) -> Explain:
    """RISE of DIANNA: 1000 masks, and what it takes to choose how much they keep."""
    import dianna

    (image,) = np.load(folder / "inputs.npy")
    axes = ("channels", "height", "width")

    def explain(**few: float) -> np.ndarray:
        maps = dianna.explain_image(
            str(folder / "model.onnx"), image, method="RISE", labels=[job["class"]], axis_labels=axes, **few
        )
        return np.asarray(maps[0])

    explain(n_masks=10, p_keep=0.5)
    return explain


def recipro_cam(job: dict[str, Any], folder: Path) -> Explain:
    """ReciproCAM of openvino_xai, what it chooses by itself for a network of this kind."""
    import openvino_xai
    from openvino_xai.explainer import ExplainMode

    inputs = np.load(folder / "inputs.npy")
    explainer = openvino_xai.Explainer(
        model=str(folder / "model.onnx"), task=openvino_xai.Task.CLASSIFICATION, explain_mode=ExplainMode.WHITEBOX
    )
    check_logits(np.asarray(explainer.model_forward(inputs)[0]), folder)
    job["precision"] = explainer.method._model_compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return lambda: next(iter(explainer(inputs, targets=[job["class"]]).saliency_map.values()))


def openvino_forward(job: dict[str, Any], folder: Path) -> Explain:
    """The plain forward pass of OpenVINO, which ReciproCAM is to be seen beside."""
    import openvino

    inputs = np.load(folder / "inputs.npy")
    compiled = openvino.Core().compile_model(str(folder / "model.onnx"), "CPU")
    check_logits(compiled(inputs)[0], folder)
    job["precision"] = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return lambda: compiled(inputs)[0]


METHODS: dict[str, tuple[Callable[[dict[str, Any], Path], Explain], tuple[str, ...]]] = {
    "GradCAM": (grad_cam("GradCAM"), ("grad-cam", "torch")),
    "HiResCAM": (grad_cam("HiResCAM"), ("grad-cam", "torch")),
    "CAM": (torch_cam, ("torchcam", "torch")),
    "RISE": (dianna_rise, ("dianna", "onnxruntime")),
    "ReciproCAM": (recipro_cam, ("openvino_xai", "openvino")),
    "OpenVINO": (openvino_forward, ("openvino",)),
}
"""Method -> how it is opened, and the packages that it stands on."""


def check_logits(found: np.ndarray, folder: Path) -> None:
    """Stop unless this is the network that the others explain; 2 % cover weights stored as float16."""
    expected = np.load(folder / "logits.npy")
    worst = np.abs(found - expected).max() / np.abs(expected).max()
    if not worst < 0.02:
        raise RuntimeError(f"not the same network: logits differ by {worst:.1%}")


def main() -> None:
    """Open the method, then explain once a line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print is no answer

    def answer(**content: object) -> None:
        print(json.dumps(content), file=answers, flush=True)

    method, folder = sys.argv[1], Path(sys.argv[2])
    try:
        job = json.loads((folder / "job.json").read_text())
        open_, packages = METHODS[method]
        explain = open_(job, folder)
        chosen = {"precision": job["precision"]} if "precision" in job else {}
        answer(ready={**{name: version(name) for name in packages}, **chosen})
        for _ in sys.stdin:
            start, spent = time.perf_counter(), time.process_time()
            shape = explain().shape
            answer(seconds=time.perf_counter() - start, cpu_seconds=time.process_time() - spent, shape=shape)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        answer(failed=f"{type(error).__name__}: {lines[0]}")


if __name__ == "__main__":
    main()
