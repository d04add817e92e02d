"""Small transformers that differ in their special tokens and in where the batch is."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

__all__ = ["CHANNELS", "CLASSES", "Transformer", "joint_transformer", "transformer"]

CHANNELS, CLASSES = 8, 5


class Transformer:
    """Patches of 8 x 8 pixels of a picture of 32 x 32 or 32 x 48, and blocks of attention with a skip connection."""

    def __init__(self, columns: int = 4, batch: int | str = "N") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)
        self.image = (batch, 3, 32, 8 * columns)
        patches = self.op("Conv", ["x", self.weight(CHANNELS, 3, 8, 8)], strides=[8, 8], kernel_shape=[8, 8])
        flat = self.op("Reshape", [patches, self.integers(0, CHANNELS, -1)])
        self.tokens = self.op("Transpose", [flat], perm=[0, 2, 1])
        self.count = 4 * columns

    def op(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(value, f"c{len(self.weights)}"))
        return self.weights[-1].name

    def weight(self, *shape: int) -> str:
        return self.constant((self._random.standard_normal(shape) * 0.5).astype(np.float32))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values))

    def positions(self) -> None:
        self.tokens = self.op("Add", [self.tokens, self.weight(1, self.count, CHANNELS)])

    def join(self, before: int, behind: int = 0, *, axis: int = 1) -> None:
        """Tokens that are parameters, repeated for each picture; the tokens' axis is 1, or 0 where the batch is second.

        In the latter case their shape is written as PyTorch's older exporter does, by a Where, whose value inference
        does not tell.
        """
        batch = self.op("Gather", [self.op("Shape", [self.tokens]), self.integers(1 - axis)], axis=0)

        def repeated(number: int) -> str:
            if axis == 1:
                shape = self.op("Concat", [batch, self.integers(number, CHANNELS)], axis=0)
                return self.op("Expand", [self.weight(1, number, CHANNELS), shape])
            shape = self.op("Concat", [self.integers(number), batch, self.integers(CHANNELS)], axis=0)
            kept = self.op("Equal", [shape, self.integers(-1, -1, -1)])
            shape = self.op("Where", [kept, self.integers(1, 1, 1), shape])
            return self.op("Expand", [self.weight(number, 1, CHANNELS), shape])

        parts = [self.tokens]
        if before:
            parts.insert(0, repeated(before))
        if behind:
            parts.append(repeated(behind))
        self.tokens = self.op("Concat", parts, axis=axis)
        self.count += before + behind

    def blocks(self, number: int = 2, *, first: bool = True) -> None:
        """`first`: whether the batch is."""
        for _ in range(number):
            y = self.op("LayerNormalization", [self.tokens, self.weight(CHANNELS), self.weight(CHANNELS)], axis=-1)
            q, k, v = (self.op("MatMul", [y, self.weight(CHANNELS, CHANNELS)]) for _ in range(3))
            if not first:
                q, v = (self.op("Transpose", [part], perm=[1, 0, 2]) for part in (q, v))
            k = self.op("Transpose", [k], perm=[0, 2, 1] if first else [1, 2, 0])
            mixed = self.op("MatMul", [self.op("Softmax", [self.op("MatMul", [q, k])], axis=-1), v])
            mixed = mixed if first else self.op("Transpose", [mixed], perm=[1, 0, 2])
            self.tokens = self.op("Add", [self.tokens, self.op("MatMul", [mixed, self.weight(CHANNELS, CHANNELS)])])

    def joint_blocks(self, number: int = 2) -> None:
        """As timm writes them: queries, keys and values of one layer, whose tensor `(3, N, heads, L, d)` is split."""
        heads = 2
        for _ in range(number):
            y = self.op("LayerNormalization", [self.tokens, self.weight(CHANNELS), self.weight(CHANNELS)], axis=-1)
            joint = self.op("MatMul", [y, self.weight(CHANNELS, 3 * CHANNELS)])
            joint = self.op("Reshape", [joint, self.integers(0, self.count, 3, heads, -1)])
            joint = self.op("Transpose", [joint], perm=[2, 0, 3, 1, 4])
            q, k, v = (self.op("Gather", [joint, self.constant(np.array(part))], axis=0) for part in range(3))
            weights = self.op(
                "Softmax", [self.op("MatMul", [q, self.op("Transpose", [k], perm=[0, 1, 3, 2])])], axis=-1
            )
            mixed = self.op("Transpose", [self.op("MatMul", [weights, v])], perm=[0, 2, 1, 3])
            mixed = self.op("Reshape", [mixed, self.integers(0, self.count, CHANNELS)])
            self.tokens = self.op("Add", [self.tokens, self.op("MatMul", [mixed, self.weight(CHANNELS, CHANNELS)])])

    def batch_second(self) -> None:
        self.tokens = self.op("Transpose", [self.tokens], perm=[1, 0, 2])

    def token(self, index: int, axis: int = 1) -> str:
        return self.op("Gather", [self.tokens, self.constant(np.array(index))], axis=axis)

    def fc(self, x: str) -> str:
        return self.op("Gemm", [x, self.weight(CHANNELS, CLASSES), self.weight(CLASSES)])

    def model(self, logits: str, **further: str) -> ModelProto:
        """`further`: the tensors of more outputs of classes, by their names."""
        outputs = {"logits": logits, **further}
        self.nodes += [helper.make_node("Identity", [tensor], [name]) for name, tensor in outputs.items()]
        shapes = {"x": self.image, **dict.fromkeys(outputs, (self.image[0], CLASSES))}
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        graph = helper.make_graph(self.nodes, "g", infos[:1], infos[1:], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def transformer(
    before: int, behind: int, *, positions_first: bool, head: str = "class", columns: int = 4
) -> ModelProto:
    net = Transformer(columns)
    if positions_first:
        net.positions()
    net.join(before, behind)
    if not positions_first:
        net.positions()
    net.blocks()
    index = 0 if before else -1
    if head == "two":
        one, other = net.fc(net.token(index)), net.fc(net.token(1 if before > 1 else -2))
        return net.model(net.op("Mul", [net.op("Add", [one, other]), net.constant(np.float32(0.5))]))
    return net.model(net.fc(net.token(index)))


def joint_transformer(batch: int | str = "N") -> ModelProto:
    """A class token, and blocks in which some tensor's first axis does not count pictures."""
    net = Transformer(batch=batch)
    net.join(1)
    net.positions()
    net.joint_blocks()
    return net.model(net.fc(net.token(0)))
