"""Feature maps: the layout that is read off the graph, tokens, and what is no feature map."""

from __future__ import annotations

import math

import numpy as np
import pytest
from heads import build, constants_of
from onnx import TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from secam_onnx.graph.index import Graph
from secam_onnx.head import Grid, find_head
from secam_onnx.head.grid import NoGridError, grid_of
from secam_onnx.head_query import HeadQuery

LAST = "t = Transpose <perm = [0, 2, 3, 1]> (f) "
TOKENS = "g = Reshape (f, i_0_0_m1) t = Transpose <perm = [0, 2, 1]> (g) "
LAYOUTS = {  # what makes the tensor `y`, layout, (C, h, w)
    "convolution": ("y = Conv (f, w_5x4x1x1)", "NCHW", (5, 3, 3)),
    "activation of it": ("c = Conv (f, w_5x4x1x1) r = HardSwish (c) y = Add (r, r)", "NCHW", (5, 3, 3)),
    "batch normalisation": ("y = BatchNormalization (f, w_4, b_4, w_4, p_4)", "NCHW", (4, 3, 3)),
    "pool": ("y = MaxPool <kernel_shape = [2, 2]> (f)", "NCHW", (4, 2, 2)),
    "constant operand first": ("y = Mul (p_4x1x1, f)", "NCHW", (4, 3, 3)),
    "transposed": (LAST + "y = Relu (t)", "NHWC", (4, 3, 3)),
    "transposed there and back": (LAST + "r = Relu (t) y = Transpose <perm = [0, 3, 1, 2]> (r)", "NCHW", (4, 3, 3)),
    "layer normalisation": (LAST + "y = LayerNormalization (t, w_4)", "NHWC", (4, 3, 3)),
    "fully connected at every position": (LAST + "y = MatMul (t, w_4x6)", "NHWC", (6, 3, 3)),
    "rows of positions": ("y = Reshape (f, i_0_0_m1)", "NCL", (4, 3, 3)),
    "tokens": (TOKENS + "y = Relu (t)", "NLC", (4, 3, 3)),
    "tokens, fully connected": (TOKENS + "y = MatMul (t, w_4x6)", "NLC", (6, 3, 3)),
    "tokens, mixed": (
        "g = Reshape (f, i_0_0_m1) m = MatMul (g, w_9x9) y = Transpose <perm = [0, 2, 1]> (m)",
        "NLC",
        (4, 3, 3),
    ),
    "tokens to map": (TOKENS + "y = Reshape (t, i_0_3_3_4)", "NHWC", (4, 3, 3)),
    "slice of tokens": (TOKENS + "c = Concat <axis = 1> (t, t) y = Slice (c, i_2, i_11, i_1)", "NLC", (4, 3, 3)),
    "quantised and back": ("q = QuantizeLinear (f, p_1, z) y = DequantizeLinear (q, p_1, z)", "NCHW", (4, 3, 3)),
    "squeezed": ("u = Unsqueeze (f, i_4) y = Squeeze (u, i_4)", "NCHW", (4, 3, 3)),
}


def graph_of(body: str, batch: int | str = "N", shape: tuple[int, ...] = (4, 3, 3)) -> Graph:
    """Without a head: `y` is what is looked at."""
    constants = {"z": np.uint8(3)} if "z)" in body else None
    return Graph(build(f"{body} logits = Identity (y)", constants, shape=shape, batch=batch))


@pytest.mark.parametrize(("body", "layout", "shape"), LAYOUTS.values(), ids=LAYOUTS)
def test_layout(body: str, layout: str, shape: tuple[int, ...]) -> None:
    assert grid_of(graph_of(body), "y") == Grid("y", layout, shape)


def test_the_image_is_told_by_its_three_colours() -> None:
    for shape, layout in ((("N", 3, 8, 9), "NCHW"), (("N", 8, 9, 3), "NHWC")):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
        z = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
        graph = Graph(helper.make_model(helper.make_graph(nodes, "g", [x], [z])))
        assert grid_of(graph, "y") == Grid("y", layout, (3, 8, 9))
        with pytest.raises(NoGridError, match="the image itself"):
            grid_of(graph, "x")


def test_tokens_are_a_square_or_as_given() -> None:
    square = graph_of(TOKENS + "y = Relu (t)")
    assert grid_of(square, "y").shape == (4, 3, 3)
    assert grid_of(square, "y", (1, 9)).shape == (4, 1, 9)
    oblong = graph_of(TOKENS + "y = Relu (t)", shape=(4, 2, 3))
    assert grid_of(oblong, "y", (2, 3)).shape == (4, 2, 3)
    assert grid_of(oblong, "y").shape == (4, 2, 3)  # as the graph tells


@pytest.mark.parametrize(
    ("image", "count", "expected"),
    [
        ((3, 3), 9, (3, 3)), ((2, 3), 6, (2, 3)), ((2, 3), 24, (4, 6)), ((32, 72), 144, (8, 18)),
        ((128, 32), 256, (32, 8)), ((35, 70), 18, (3, 6)), ((30, 62), 8, (2, 4)), ((2, 3), 9, None),
        ((3, 3), 12, None), ((32, 72), 100, None), ((64, 32), 1, None), ((32, 32), 20, None),
    ],
)  # fmt: skip
def test_tokens_that_are_not_traced_are_as_the_picture_is(
    image: tuple[int, int], count: int, expected: tuple[int, int] | None
) -> None:
    """Once they are more than one row; a square number is no square grid where the picture is not square."""
    mixed = f"g = Reshape (f, i_0_0_m1) m = MatMul (g, w_{math.prod(image)}x{count}) "
    graph = graph_of(mixed + "y = Transpose <perm = [0, 2, 1]> (m)", shape=(4, *image))
    if expected is not None:
        assert grid_of(graph, "y").shape == (4, *expected)
        return
    with pytest.raises(NoGridError, match=r"proportion to the picture's height and width; give the grid|no spatial"):
        grid_of(graph, "y")


@pytest.mark.parametrize(("size", "expected"), [(None, (4, 4)), ((32, 32), (4, 4)), ((64, 16), (8, 2))])
def test_the_size_that_will_be_fed_counts_where_the_model_leaves_it_open(
    size: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    body = (
        "c = Conv (x, w_4x3x2x2) g = Reshape (c, i_0_4_16) y = Transpose <perm = [0, 2, 1]> (g) logits = Identity (y)"
    )
    network = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> g (float[1, 3, H, W] x) => (float[1, 16, 4] logits) {{ {body} }}'
    )
    for name, value in constants_of(body).items():
        network.graph.initializer.append(numpy_helper.from_array(value, name))
    graph = Graph(network)
    graph.image_size = size
    assert grid_of(graph, "y").shape == (4, *expected)


def test_some_of_the_cells_are_no_grid() -> None:
    """However many they are; where the user says so, they are one."""
    graph = graph_of(TOKENS + "y = Slice (t, i_0, i_4, i_1)")
    with pytest.raises(NoGridError, match="only some of the picture's cells are among its 4 tokens"):
        grid_of(graph, "y")
    assert grid_of(graph, "y", (1, 4)).shape == (4, 1, 4)


def test_a_grid_that_the_tokens_are_not() -> None:
    oblong = graph_of(TOKENS + "y = Relu (t)", shape=(4, 2, 3))
    with pytest.raises(NoGridError, match="its 6 tokens do not form a grid of 3 x 3"):
        grid_of(oblong, "y", (3, 3))


REFUSED = {
    "vector": ("y = Flatten (f)", "no spatial grid"),
    "pooled": ("y = GlobalAveragePool (f)", r"shape \(\?, 4, 1, 1\): no spatial grid"),
    "five axes": ("y = Unsqueeze (f, i_1)", "no spatial grid"),
    "unknown operator": ("y = Cos (f)", "its producer does not tell which axis counts channels"),
    "channels between rows and columns": (
        "y = Transpose <perm = [0, 2, 1, 3]> (f)",
        "channels on axis 2 are an unknown layout",
    ),
    "channels torn apart": ("y = Reshape (f, i_0_2_2_9)", "does not tell which axis"),
    "one class token": (TOKENS + "y = Slice (t, i_0, i_1, i_1)", "no spatial grid"),
}


@pytest.mark.parametrize(("body", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(body: str, reason: str) -> None:
    with pytest.raises(NoGridError, match=reason):
        grid_of(graph_of(body), "y")


def test_a_reader_tells_where_the_producers_do_not() -> None:
    graph = graph_of("y = Cos (f)")
    assert grid_of(graph, "y", readers_axis=1) == Grid("y", "NCHW", (4, 3, 3))
    assert grid_of(graph, "y", readers_axis=3) == Grid("y", "NHWC", (3, 4, 3))
    assert grid_of(graph, "f", readers_axis=3).layout == "NCHW"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NLC", "NCL", "LNC"])
def test_there_and_back(layout: str) -> None:
    grid = Grid("y", layout, (4, 3, 2))
    first = grid.batch_first("own", "first")
    back = grid.to_nchw("first" if first else "own", "again")
    back = [*first, *back] if layout != "NCHW" else [helper.make_node("Identity", ["own"], ["again"])]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("f", "own", "again")]
    model = helper.make_model(helper.make_graph([*grid.from_nchw("f", "own"), *back], "g", infos[:1], infos[1:]))
    features = np.random.default_rng(0).standard_normal((2, 4, 3, 2)).astype(np.float32)
    own, again = ReferenceEvaluator(model).run(None, {"f": features})
    assert own.shape[grid.channel_axis] == 4
    assert own.ndim == len(layout)
    np.testing.assert_array_equal(again, features)


def test_a_deep_look_back_ends() -> None:
    graph = graph_of(
        "a0 = Relu (f) " + " ".join(f"a{i + 1} = Add (a{i}, a{i})" for i in range(400)) + " y = Relu (a400)"
    )
    with pytest.raises(NoGridError, match="does not tell"):
        grid_of(graph, "y")


def test_a_grid_that_the_tokens_do_not_make_is_refused() -> None:
    graph = Graph(build(TOKENS + "v = ReduceMean <keepdims = 0> (t, i_1) logits = MatMul (v, w_4x5)"))
    assert find_head(graph, HeadQuery(token_grid=(2, 3))).grid.shape == (4, 2, 3)
    assert find_head(graph, HeadQuery(token_grid=(3, 5))).grid.layout == "NCHW"  # the map that the tokens were made of
