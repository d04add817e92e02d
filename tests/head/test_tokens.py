"""Transformers' tokens: which of them are cells of a grid, and what masking them is, by plain ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from heads import build
from onnx import ModelProto, helper
from onnx.utils import Extractor
from token_networks import CHANNELS, CLASSES, Transformer, transformer

from secam_onnx import Explainer, Preprocessing
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.errors import HeadError
from secam_onnx.export.explainable_file import export_model, fuse
from secam_onnx.export.source import Source
from secam_onnx.graph.index import Graph
from secam_onnx.head import find_head
from secam_onnx.head.tokens import Tokens, tokens_of
from secam_onnx.head_query import HeadQuery

SETTINGS = Preprocessing((32, 32))


CASES = {
    "class token": (1, 0, "class"),
    "class token and four registers": (5, 0, "class"),
    "distilled": (2, 0, "two"),
    "behind the patches": (0, 1, "class"),
    "two behind": (0, 2, "two"),
    "before and behind": (1, 4, "class"),
}


def masked(
    model: ModelProto, tensor: str, axis: int, special: tuple[int, int], x: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Logits of what lies behind a tensor: with each cell alone, with none, and all; special tokens stay."""
    shown = ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.append(helper.make_empty_tensor_value_info(tensor))
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    tokens, whole = session.run([tensor, "logits"], {"x": x})
    inferred = onnx.shape_inference.infer_shapes(model)
    cut = Extractor(inferred).extract_model([tensor], ["logits"])
    behind = onnxruntime.InferenceSession(cut.SerializeToString(), providers=["CPUExecutionProvider"])
    before, after = special
    results = []
    cells = tokens.shape[axis] - before - after
    for kept in (*range(cells), None):
        mask = np.zeros(tokens.shape[axis], np.float32)
        mask[:before] = mask[len(mask) - after :] = 1
        if kept is not None:
            mask[before + kept] = 1
        shape = [1] * tokens.ndim
        shape[axis] = -1
        results.append(behind.run(None, {tensor: tokens * mask.reshape(shape)})[0])
    return np.stack(results[:-1]), results[-1], whole


@pytest.mark.parametrize("positions_first", [False, True])
@pytest.mark.parametrize(("before", "behind", "head"), CASES.values(), ids=CASES)
def test_special_tokens(before: int, behind: int, head: str, positions_first: bool, tmp_path: Path) -> None:
    """The tokens before the last block, the special ones always kept, as of a network with a class token alone."""
    model = transformer(before, behind, positions_first=positions_first, head=head)
    onnx.save(model, tmp_path / "network.onnx")
    classifier = open_classifier(
        tmp_path / "network.onnx", providers="cpu", preprocessing=SETTINGS, attribution="masking"
    )
    found = classifier.metadata.head
    assert (found.shape, found.layout, found.prefix, found.suffix) == ((CHANNELS, 4, 4), "NLC", before, behind)
    assert sum(node.op_type == "Softmax" for node in _behind(model, found.features)) == 1
    assert "features_warning" not in classifier.metadata.origin

    x = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    features, logits, _ = classifier.forward(x)
    maps, bias = classifier.contribute(features, np.repeat(np.arange(CLASSES)[None], 2, axis=0))
    alone, nothing, whole = masked(model, found.features, 1, (before, behind), x)
    np.testing.assert_allclose(logits, whole, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bias, nothing, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps.reshape(2, CLASSES, 16).transpose(2, 0, 1), alone - nothing, rtol=1e-3, atol=1e-5)


def _behind(model: ModelProto, tensor: str) -> list[onnx.NodeProto]:
    place = next(index for index, node in enumerate(model.graph.node) if tensor in node.output)
    return list(model.graph.node[place + 1 :])


def test_an_embedding_and_constants_beside_the_classes() -> None:
    """As an encoder with class vectors has them: neither is a second head."""
    net = Transformer()
    net.join(1)
    net.blocks(3)
    embedding = net.op("Gemm", [net.token(0), net.weight(CHANNELS, CLASSES)])
    texts = net.op("Identity", [net.weight(CLASSES, CLASSES)])
    logits = net.op("Gemm", [embedding, texts], transB=1)
    graph = Graph(net.model(logits, embedding=embedding, texts=texts))
    head = find_head(graph)
    assert (head.output, head.kind) == ("logits", "1 attention block + fc")
    assert "it does not depend on the image" in [entry.reason for entry in head.rejected if entry.tensor == "texts"]


@pytest.mark.parametrize(("kernel", "algebra"), [(1, "detached"), (3, "piecewise linear")])
def test_convolutions_behind_attention(kernel: int, algebra: str) -> None:
    """The last map of a network that convolves what attention has made is that of a CNN."""
    net = Transformer()
    net.blocks(3)
    turned = net.op("Transpose", [net.tokens], perm=[0, 2, 1])
    spread = net.op("Reshape", [turned, net.integers(0, CHANNELS, 4, 4)])
    weight, pads = net.weight(CHANNELS, CHANNELS, kernel, kernel), [kernel // 2] * 4
    last = net.op("Conv", [spread, weight], kernel_shape=[kernel] * 2, pads=pads)
    pooled = net.op("Flatten", [net.op("GlobalAveragePool", [last])])
    head = find_head(Graph(net.model(net.fc(pooled))))
    assert (head.algebra, head.features == last) == (algebra, kernel == 3)


@pytest.mark.parametrize("head", ["token", "mean"])
def test_the_maps_of_several_cuts_are_averaged(head: str, tmp_path: Path) -> None:
    net = Transformer()
    net.join(1)
    net.blocks(5)
    pooled = net.token(0) if head == "token" else net.op("ReduceMean", [net.tokens], axes=[1], keepdims=0)
    onnx.save(net.model(net.fc(pooled)), tmp_path / "network.onnx")
    x = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    ids = np.repeat(np.arange(CLASSES)[None], 2, axis=0)

    def maps(blocks: int | tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        opened = open_classifier(
            tmp_path / "network.onnx", providers="cpu", preprocessing=SETTINGS, query=HeadQuery(blocks=blocks)
        )
        features, logits, _ = opened.forward(x)
        cam, bias = opened.contribute(features, ids)
        np.testing.assert_allclose(cam.sum((2, 3)) + bias, logits, rtol=1e-4, atol=1e-5)
        return cam, bias

    single = [maps(number) for number in (1, 3, 4)]
    assert len({cam.tobytes() for cam, _ in single}) == 3
    for found, *parts in zip(maps((1, 3, 4)), *single, strict=True):
        np.testing.assert_allclose(found, np.mean(parts, axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("special", [(1, 4), (2, 0)])
def test_exported_and_fused(special: tuple[int, int], tmp_path: Path, chelsea: np.ndarray) -> None:
    model = transformer(*special, positions_first=True)
    onnx.save(model, tmp_path / "network.onnx")
    wanted = Explainer(tmp_path / "network.onnx", providers="cpu", preprocessing=SETTINGS)
    export_model(Source(onnx.load(tmp_path / "network.onnx"), SETTINGS), tmp_path / "explainable.onnx")
    fuse(tmp_path / "network.onnx", tmp_path / "fused.onnx", preprocessing=SETTINGS)
    again = Explainer(tmp_path / "explainable.onnx", providers="cpu")
    assert again.classifier.metadata.head == wanted.classifier.metadata.head
    maps = wanted.explain(chelsea, "all").cam
    for other in (again, Explainer(tmp_path / "fused.onnx", providers="cpu")):
        np.testing.assert_allclose(other.explain(chelsea, "all").cam, maps, rtol=1e-3, atol=1e-4)


def test_an_oblong_grid_needs_no_option() -> None:
    head = find_head(Graph(transformer(5, 0, positions_first=False, columns=6)))
    assert (head.grid.shape, head.grid.prefix) == ((CHANNELS, 4, 6), 5)
    assert find_head(
        Graph(transformer(5, 0, positions_first=False, columns=6)), HeadQuery(token_grid=(3, 8))
    ).grid.shape[1:] == (3, 8)


def test_tokens_that_are_left_out_add_nothing(tmp_path: Path, chelsea: np.ndarray) -> None:
    """Half of the patches are dropped before the blocks: only the patch embedding is a grid."""
    net = Transformer()
    net.tokens = net.op("Slice", [net.tokens, net.integers(0), net.integers(7), net.integers(1)])
    net.count = 7
    net.join(1)
    net.blocks()
    onnx.save(net.model(net.fc(net.token(0))), tmp_path / "network.onnx")
    explainer = Explainer(tmp_path / "network.onnx", providers="cpu", preprocessing=SETTINGS)
    cam = explainer.explain(chelsea).cam.reshape(-1, 16)
    assert np.abs(cam[:, :7]).min(axis=1).all()
    assert not cam[:, 7:].any()


def test_one_block_after_a_map_is_attention_pooling() -> None:
    """CLIP's ResNets: the map before it is the feature map, which needs no warning."""
    net = Transformer()
    net.join(1)
    net.blocks(1)
    head = find_head(Graph(net.model(net.fc(net.token(0)))))
    assert (head.grid.shape, head.grid.prefix, head.warning) == ((CHANNELS, 4, 4), 1, "")


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize(("special", "late"), [((0, 0), False), ((1, 0), False), ((1, 2), False), ((1, 2), True)])
@pytest.mark.parametrize("head", ["token", "mean"])
def test_the_batch_in_the_second_axis(
    batch: int | str, special: tuple[int, int], late: bool, head: str, tmp_path: Path
) -> None:
    """As PyTorch's TransformerEncoderLayer(batch_first=False) and OpenAI's CLIP have it."""
    net = Transformer(batch=batch)
    if any(special) and not late:
        net.join(*special)
    net.batch_second()
    if late:
        net.join(*special, axis=0)
    net.blocks(first=False)
    pooled = net.token(0, axis=0) if head == "token" else net.op("ReduceMean", [net.tokens], axes=[0], keepdims=0)
    model = net.model(net.fc(pooled))
    onnx.save(model, tmp_path / "network.onnx")
    classifier = open_classifier(
        tmp_path / "network.onnx", providers="cpu", preprocessing=SETTINGS, attribution="masking"
    )
    found = classifier.metadata.head
    assert (found.layout, found.shape, (found.prefix, found.suffix)) == ("LNC", (CHANNELS, 4, 4), special)
    behind = sum(node.op_type == "Softmax" for node in _behind(model, found.features))
    assert behind == 1

    x = np.random.default_rng(1).standard_normal((1 if batch == 1 else 2, 3, 32, 32)).astype(np.float32)
    features, _, _ = classifier.forward(x)
    maps, bias = classifier.contribute(features, np.repeat(np.arange(CLASSES)[None], len(x), axis=0))
    alone, nothing, _ = masked(model, found.features, 0, special, x)
    np.testing.assert_allclose(bias, nothing, rtol=1e-4, atol=1e-5)
    expected = (alone - nothing).transpose(1, 2, 0).reshape(len(x), CLASSES, 4, 4)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-5)


def test_the_batch_in_the_second_axis_exported_and_fused(tmp_path: Path, chelsea: np.ndarray) -> None:
    net = Transformer()
    net.join(1, 2)
    net.batch_second()
    net.blocks(first=False)
    onnx.save(net.model(net.fc(net.token(0, axis=0))), tmp_path / "network.onnx")
    wanted = Explainer(tmp_path / "network.onnx", providers="cpu", preprocessing=SETTINGS)
    export_model(Source(onnx.load(tmp_path / "network.onnx"), SETTINGS), tmp_path / "explainable.onnx")
    fuse(tmp_path / "network.onnx", tmp_path / "fused.onnx", preprocessing=SETTINGS)
    maps = wanted.explain(chelsea, "all").cam
    for file in ("explainable.onnx", "fused.onnx"):
        found = Explainer(tmp_path / file, providers="cpu").explain(chelsea, "all").cam
        np.testing.assert_allclose(found, maps, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_picture_and_its_mirror_in_one_batch_are_refused(batch: int | str) -> None:
    net = Transformer(batch=batch)
    net.nodes[0].input[0] = "both"
    mirrored = [net.integers(-1), net.integers(-(2**40)), net.integers(3), net.integers(-1)]
    first = [
        helper.make_node("Slice", ["x", *mirrored], ["turned"]),
        helper.make_node("Concat", ["x", "turned"], ["both"], axis=0),
    ]
    net.nodes[:0] = first
    pooled = net.op("ReduceMean", [net.tokens], axes=[1], keepdims=0)
    two = net.op("Reshape", [net.fc(pooled), net.integers(2, -1, CLASSES)])
    model = net.model(net.op("ReduceMean", [two], axes=[0], keepdims=0))
    with pytest.raises(HeadError, match="none of its axes counts the photographs alone"):
        find_head(Graph(model))


TOKENS = "g = Reshape (f, i_0_0_m1) t = Transpose <perm = [0, 2, 1]> (g) "  # 3 x 2
CLASS = "k = ReduceMean <keepdims = 1> (t, i_1) "
ALONG = {  # what makes `y`, along which axis, and what lies there
    "tokens": ("y = Relu (t)", 1, Tokens(3, 2)),
    "one before, computed": (CLASS + "y = Concat <axis = 1> (k, t)", 1, Tokens(3, 2, 1)),
    "joined twice": (CLASS + "c = Concat <axis = 1> (k, t) y = Concat <axis = 1> (k, c, k, k)", 1, Tokens(3, 2, 2, 2)),
    "dropped again": (
        CLASS + "c = Concat <axis = 1> (k, k, t, k) y = Slice (c, i_1, i_99, i_1)", 1, Tokens(3, 2, 1, 1),
    ),
    "split off": (
        CLASS + "c = Concat <axis = 1> (k, t, k) a, y, b = Split <axis = 1> (c, i_1_6_1)", 1, Tokens(3, 2),
    ),
    "heads": (CLASS + "c = Concat <axis = 1> (k, t) r = Reshape (c, i_0_0_2_2) y = Transpose <perm = [0, 2, 1, 3]> (r)",
              2, Tokens(3, 2, 1)),
    "queries by keys, rows": (
        CLASS + "c = Concat <axis = 1> (k, t) u = Transpose <perm = [0, 2, 1]> (t) y = MatMul (c, u)",
        1, Tokens(3, 2, 1),
    ),
    "queries by keys, columns": (
        CLASS + "c = Concat <axis = 1> (k, t) u = Transpose <perm = [0, 2, 1]> (t) y = MatMul (c, u)", 2, Tokens(3, 2),
    ),
    "part of three": (
        "a = Unsqueeze (t, i_0) b = Concat <axis = 0> (a, a, a) y = Gather <axis = 0> (b, nought)", 1, Tokens(3, 2),
    ),
    "parameters before what is not traced": (
        "m = MatMul (g, w_6x24) u = Transpose <perm = [0, 2, 1]> (m) y = Concat <axis = 1> (w_1x2x4, u)",
        1, Tokens(6, 4, 2),
    ),
    "a computed token before what is not traced": (
        "m = MatMul (g, w_6x9) u = Transpose <perm = [0, 2, 1]> (m) v = ReduceMean (u, i_1) "
        "y = Concat <axis = 1> (v, u)", 1, None,
    ),
    "axes that are no rows and columns": (
        "r = Reshape (t, i_0_3_2_4) u = Transpose <perm = [0, 3, 1, 2]> (r) y = Reshape (u, i_0_12_2)", 1, None,
    ),
    "mixed by weights": ("m = MatMul (g, w_6x6) y = Transpose <perm = [0, 2, 1]> (m)", 1, None),
    "two grids": ("y = Concat <axis = 1> (t, t)", 1, None),
    "channels last": ("l = Transpose <perm = [0, 2, 3, 1]> (f) y = Reshape (l, i_0_m1_4)", 1, Tokens(3, 2)),
}  # fmt: skip


@pytest.mark.parametrize(("body", "axis", "expected"), ALONG.values(), ids=ALONG)
def test_what_lies_along_an_axis(body: str, axis: int, expected: Tokens | None) -> None:
    graph = Graph(build(f"{TOKENS}{body} logits = Identity (y)", {"nought": np.array(0)} if "nought" in body else None))
    assert tokens_of(graph, "y", axis) == expected
