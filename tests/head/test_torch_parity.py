"""Maps and bias against PyTorch's autograd: the same head in PyTorch, for fully connected layers and smooth heads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from heads import CLASS_IDS_ASKED, answer, constants_of

torch = pytest.importorskip("torch")
F = torch.nn.functional
Head = Callable[[torch.Tensor, dict[str, torch.Tensor]], torch.Tensor]

MLP = "v = Flatten (f) h = Gemm <transB = 1> (v, w_8x24, b_8) {} logits = Gemm <transB = 1> (a, w_5x8, b_5)"
ACTIVATIONS: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor], int]] = {
    "relu": ("a = Relu (h)", F.relu, 18),
    "leaky relu": ("a = LeakyRelu <alpha = 0.2> (h)", lambda x: F.leaky_relu(x, 0.2), 18),
    "relu6": ("a = Clip (h, c_0, c_6)", F.relu6, 18),
    "hard tanh": ("a = Clip (h, c_m1, c_1)", F.hardtanh, 18),
    "hard sigmoid": ("a = HardSigmoid <alpha = 0.16666667> (h)", F.hardsigmoid, 18),
    "threshold": ("a = ThresholdedRelu <alpha = 0.5> (h)", lambda x: F.threshold(x, 0.5, 0), 18),
    "abs": ("a = Abs (h)", torch.abs, 18),
    "elu": ("a = Elu (h)", F.elu, 18),
    "erf": ("a = Erf (h)", torch.erf, 18),
    "exp": ("a = Exp (h)", torch.exp, 18),
    "gelu": ("a = Gelu (h)", F.gelu, 20),
    "gelu by tanh": ('a = Gelu <approximate = "tanh"> (h)', lambda x: F.gelu(x, approximate="tanh"), 20),
    "gelu in five": (
        "d = Div (h, c_1p4142135) e = Erf (d) s = Add (e, c_1) m = Mul (h, s) a = Mul (m, c_0p5)",
        F.gelu,
        18,
    ),
    "hard swish": ("a = HardSwish (h)", F.hardswish, 18),
    "hard swish in four": ("s = Add (h, c_3) c = Clip (s, c_0, c_6) m = Mul (h, c) a = Div (m, c_6)", F.hardswish, 18),
    "mish": ("a = Mish (h)", F.mish, 18),
    "selu": ("a = Selu (h)", F.selu, 18),
    "sigmoid": ("a = Sigmoid (h)", torch.sigmoid, 18),
    "silu": ("s = Sigmoid (h) a = Mul (h, s)", F.silu, 18),
    "swish": ("a = Swish (h)", F.silu, 24),
    "softmax": ("a = Softmax <axis = -1> (h)", lambda x: F.softmax(x, -1), 18),
    "log softmax": ("a = LogSoftmax <axis = -1> (h)", lambda x: F.log_softmax(x, -1), 18),
    "softplus": ("a = Softplus (h)", F.softplus, 18),
    "softsign": ("a = Softsign (h)", F.softsign, 18),
    "square": ("a = Pow (h, c_2)", torch.square, 18),
    "tanh": ("a = Tanh (h)", torch.tanh, 18),
    "layer norm": ("a = LayerNormalization (h, p_8)", None, 18),
}


def layer_norm(x: torch.Tensor) -> torch.Tensor:
    scale = torch.from_numpy(constants_of("p_8")["p_8"]).double()
    return F.layer_norm(x, (8,), scale)


def compare(
    body: str, head: Head, *, opset: int = 18, tolerance: float = 2e-5, shape: tuple[int, ...] = (4, 3, 2)
) -> None:
    found = answer(body, opset=opset, shape=shape)
    values = {name: torch.from_numpy(np.asarray(value)).double() for name, value in constants_of(body).items()}
    ids = torch.from_numpy(CLASS_IDS_ASKED)

    def asked(features: torch.Tensor) -> torch.Tensor:
        return torch.gather(head(features, values), 1, ids)

    features = torch.from_numpy(found.features).double()
    jacobian = torch.einsum("nknchw->nkchw", torch.autograd.functional.jacobian(asked, features))
    maps, logits = (jacobian * features[:, None]).sum(dim=2).numpy(), asked(features).numpy()
    size = max(1, np.abs(maps).max(), np.abs(logits).max())
    np.testing.assert_allclose(found.maps, maps, rtol=0, atol=tolerance * size)
    np.testing.assert_allclose(
        found.bias + found.gap, logits - maps.sum(axis=(2, 3)), rtol=0, atol=4 * tolerance * size
    )


@pytest.mark.parametrize(("spelling", "activation", "opset"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_perceptrons(spelling: str, activation: Callable[[torch.Tensor], torch.Tensor] | None, opset: int) -> None:
    def head(f: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
        hidden = F.linear(f.flatten(1), c["w_8x24"], c["b_8"])
        return F.linear((activation or layer_norm)(hidden), c["w_5x8"], c["b_5"])

    compare(MLP.format(spelling), head, opset=opset)


def vgg(f: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
    hidden = F.relu(F.max_pool2d(f, 2, 1).flatten(1) @ c["w_8x9"] + c["b_9"])
    return F.relu(hidden @ c["w_9x7"] + c["b_7"]) @ c["w_7x5"] + c["b_5"]


def squeezenet(f: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
    return F.relu(F.conv2d(f, c["w_5x4x1x1"], c["b_5"])).mean((2, 3))


def mobilenet(f: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
    normal = F.batch_norm(F.conv2d(f, c["w_6x4x1x1"], c["b_6"]), c["w_6"], c["p_6"], c["w_6"], c["b_6"])
    return F.hardswish(F.hardswish(normal).mean((2, 3)) @ c["w_6x8"] + c["b_8"]) @ c["w_8x5"] + c["b_5"]


def convnext(f: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
    return F.layer_norm(f.mean((2, 3)), (4,), c["p_4"], c["b_4"], 1e-6) @ c["w_4x5"] + c["b_5"]


def swin(f: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
    return F.layer_norm(f.permute(0, 2, 3, 1), (4,), c["p_4"], c["b_4"]).mean((1, 2)) @ c["w_4x5"] + c["b_5"]


def group_norm(f: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
    groups = F.group_norm(f, 2).reshape(3, 2, -1) * c["p_2"][:, None] + c["b_2"][:, None]
    return groups.flatten(1) @ c["w_24x5"]


def generalised_mean(f: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
    return f.clamp(min=c["c_0p1"]).pow(3).mean((2, 3)).pow(c["c_0p3333333"]) @ c["w_4x5"]


def squeeze_and_excite(f: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
    squeezed = F.relu(F.conv2d(f.mean((2, 3), keepdim=True), c["w_2x4x1x1"], c["b_2"]))
    return (f * torch.sigmoid(F.conv2d(squeezed, c["w_4x2x1x1"], c["b_4"]))).mean((2, 3)) @ c["w_4x5"]


HEADS: dict[Head, str] = {
    vgg: (
        "m = MaxPool <kernel_shape = [2, 2], strides = [1, 1]> (f) v = Flatten (m) "
        "h = Gemm (v, w_8x9, b_9) r = Relu (h) "
        "g = Gemm (r, w_9x7, b_7) s = Relu (g) logits = Gemm (s, w_7x5, b_5)"
    ),
    squeezenet: "k = Conv (f, w_5x4x1x1, b_5) r = Relu (k) p = GlobalAveragePool (r) logits = Flatten (p)",
    mobilenet: (
        "k = Conv (f, w_6x4x1x1, b_6) n = BatchNormalization (k, w_6, b_6, w_6, p_6) a = HardSwish (n) "
        "p = GlobalAveragePool (a) v = Flatten (p) h = Gemm (v, w_6x8, b_8) s = HardSwish (h) "
        "logits = Gemm (s, w_8x5, b_5)"
    ),
    convnext: (
        "p = GlobalAveragePool (f) t = Transpose <perm = [0, 2, 3, 1]> (p) "
        "n = LayerNormalization <epsilon = 0.000001> (t, p_4, b_4) "
        "u = Transpose <perm = [0, 3, 1, 2]> (n) v = Flatten (u) logits = Gemm (v, w_4x5, b_5)"
    ),
    swin: (
        "t = Transpose <perm = [0, 2, 3, 1]> (f) n = LayerNormalization (t, p_4, b_4) "
        "p = ReduceMean <keepdims = 0> (n, i_1_2) "
        "logits = Gemm (p, w_4x5, b_5)"
    ),
    group_norm: (
        "g = Reshape (f, i_0_2_m1) i = InstanceNormalization (g, p_2, b_2) u = Reshape (i, i_0_4_3_2) v = Flatten (u) "
        "logits = MatMul (v, w_24x5)"
    ),
    generalised_mean: (
        "c0 = Clip (f, c_0p1) q = Pow (c0, c_3) p = GlobalAveragePool (q) r = Pow (p, c_0p3333333) v = Flatten (r) "
        "logits = MatMul (v, w_4x5)"
    ),
    squeeze_and_excite: (
        "q = GlobalAveragePool (f) k = Conv (q, w_2x4x1x1, b_2) r = Relu (k) "
        "e = Conv (r, w_4x2x1x1, b_4) s = Sigmoid (e) "
        "m = Mul (f, s) p = GlobalAveragePool (m) v = Flatten (p) logits = MatMul (v, w_4x5)"
    ),
}


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
def test_heads_of_known_networks(head: Head) -> None:
    compare(HEADS[head], head, tolerance=1e-4)
