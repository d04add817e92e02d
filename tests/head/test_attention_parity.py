"""Heads behind attention against PyTorch: maps equal the gradient of the network with the same factors detached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from attention_networks import CASES, Case, Transformer, picture, write  # noqa: E402
from held_attention import linearise  # noqa: E402

from secam_onnx.classifier.open_classifier import open_classifier  # noqa: E402
from secam_onnx.head_query import HeadQuery  # noqa: E402

CLASS_IDS = [4, 0]


def check(network: Transformer, path: Path, case: Case) -> None:
    """Compare maps of two pictures, two classes each, before the last two blocks."""
    classifier = open_classifier(path, providers="cpu", query=HeadQuery(blocks=2 + case.after))
    assert classifier.attribution == "detached"
    pictures = torch.cat([picture(0), picture(1)])
    tensors, logits, _ = classifier.forward(pictures.numpy())
    maps, bias, gap = classifier.contribute.local(tensors, np.array([CLASS_IDS] * 2))
    network, pictures = network.double(), pictures.double()
    block = network.blocks[-2]
    for index, class_id in np.ndindex(2, 2):
        line = linearise(network, pictures[index : index + 1], block, CLASS_IDS[class_id])
        expected = line.cam(case.prefix).numpy()
        ours = maps[index, class_id].ravel()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        asked = line.logits[CLASS_IDS[class_id]]
        np.testing.assert_allclose(bias[index, class_id], asked - expected.sum(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits[:, CLASS_IDS], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gap, 0, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_maps_equal_the_detached_gradient(name: str, tmp_path: Path) -> None:
    network, path = CASES[name].network(), tmp_path / "model.onnx"
    write(network, "torchscript", path)
    check(network, path, CASES[name])


def by_sessions(path: Path) -> None:
    """As ONNX Runtime writes a model that it has optimised."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def by_its_tools(path: Path) -> None:
    """As its tools for transformers write it."""
    from onnxruntime.transformers import optimizer

    optimizer.optimize_model(str(path), model_type="vit", opt_level=0).save_model_to_file(str(path))


WRITTEN = [
    (by_sessions, "timm", "BiasGelu"),
    (by_its_tools, "timm", "SkipLayerNormalization"),
    *(
        pytest.param(*case, marks=pytest.mark.full)
        for case in [
            (by_sessions, "torchvision", "BiasGelu"),
            (by_sessions, "CLIP, zero-shot", "QuickGelu"),
            (by_sessions, "registers, rotary positions, SwiGLU, RMS norm", "SimplifiedLayerNormalization"),
            (by_its_tools, "shifted windows, mean of patches", "SkipLayerNormalization"),
        ]
    ),
]
"""How a file is optimised, which network, and an operator that is written."""


@pytest.mark.parametrize(("optimise", "name", "operator"), WRITTEN)
def test_optimised_files_have_the_same_maps(
    optimise: Callable[[Path], None], name: str, operator: str, tmp_path: Path
) -> None:
    network, path = CASES[name].network(), tmp_path / "model.onnx"
    write(network, "torchscript", path)
    optimise(path)
    assert operator in {node.op_type for node in onnx.load(path).graph.node}
    check(network, path, CASES[name])


@pytest.mark.full
@pytest.mark.parametrize("name", ["timm", "torchvision", "registers, rotary positions, SwiGLU, RMS norm"])
def test_attention_of_opset_23(name: str, tmp_path: Path) -> None:
    network, path = CASES[name].network(), tmp_path / "model.onnx"
    write(network, "dynamo", path, opset=23)
    assert "Attention" in {node.op_type for node in onnx.load(path).graph.node}
    check(network, path, CASES[name])
