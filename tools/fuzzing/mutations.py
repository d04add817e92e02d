"""Ways to change a model.

To damage it, on the graph, so that it is still a protobuf, or on the bytes; or to make another one of it that runs.
"""

from __future__ import annotations

import random

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

__all__ = ["mutate"]

_OPERATORS = ("Relu", "Flatten", "GlobalAveragePool", "Gemm", "MatMul", "Softmax", "Transpose", "Gather", "Loop", "Odd")


def mutate(model: ModelProto, chance: random.Random) -> bytes:
    """One to four mutations: sound ones, some with a damage besides, or damages of the graph or of the bytes."""
    draw = chance.random()
    if draw < 0.7:
        mutant = ModelProto.FromString(model.SerializeToString())
        if draw < 0.35:
            for _ in range(chance.randint(1, 3)):
                chance.choice(_SOUND)(mutant, chance)
        if draw > 0.3:
            for _ in range(chance.randint(1, 4)):
                chance.choice(_STRUCTURAL)(mutant, chance)
        try:
            return mutant.SerializeToString()
        except Exception:  # a string that is no UTF-8, say: nobody could have written that file
            return b""
    data = bytearray(model.SerializeToString())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[at] = chance.randrange(256)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = data[chance.randrange(len(data)) :][:64]
        else:
            del data[at : at + chance.randint(1, 64)]
        if not data:
            return b""
    return bytes(data)


def _node(model: ModelProto, chance: random.Random) -> onnx.NodeProto:
    return chance.choice(model.graph.node) if model.graph.node else model.graph.node.add()


def _names(model: ModelProto) -> list[str]:
    return [name for node in model.graph.node for name in (*node.input, *node.output)] or [""]


def insert_transposed(model: ModelProto, chance: random.Random) -> None:
    """Put arithmetic with a constant, as large as the tensor, between two Transposes."""
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    inner = [name for name in sorted(shapes) if len(shapes[name]) > 1 and all(shapes[name][1:])]
    if not inner:
        return
    name = chance.choice(inner)
    order = list(range(1, len(shapes[name])))
    chance.shuffle(order)
    there = [0, *order] if chance.random() < 0.7 else chance.sample(range(len(order) + 1), len(order) + 1)
    back = [there.index(axis) for axis in range(len(there))]
    new = f"{name}_{chance.randrange(1 << 30)}"
    lengths = [1 if axis == 0 else shapes[name][axis] for axis in there]
    values = np.random.default_rng(chance.randrange(1 << 30)).normal(1, 0.3, lengths).astype(np.float32)
    operands = [f"{new}_there", f"{new}_constant"]
    chance.shuffle(operands)
    nodes = [
        helper.make_node("Transpose", [name], [f"{new}_there"], perm=there),
        helper.make_node(chance.choice(("Add", "Mul", "Sub", "Max")), operands, [f"{new}_changed"]),
        helper.make_node("Transpose", [f"{new}_changed"], [new], perm=back),
    ]
    for node in model.graph.node:
        for place, read in enumerate(node.input):
            if read == name:
                node.input[place] = new
    place = next(index for index, node in enumerate(model.graph.node) if name in node.output)
    rest = [*nodes, *model.graph.node[place + 1 :]]
    del model.graph.node[place + 1 :]
    model.graph.node.extend(rest)
    model.graph.initializer.append(numpy_helper.from_array(values, f"{new}_constant"))


def scale_weight(model: ModelProto, chance: random.Random) -> None:
    """Let a weight be very small, very large, or no number."""
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT and tensor.raw_data]
    if floats:
        tensor = chance.choice(floats)
        factor = np.float32(chance.choice((0.0, 1e-20, 1e-3, -1.0, 10.0, 1e4, np.nan, np.inf)))
        with np.errstate(all="ignore"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, tensor.name))


def show_tensor(model: ModelProto, chance: random.Random) -> None:
    """Let an inner tensor, or a weight, be an output."""
    names = [name for node in model.graph.node for name in node.output]
    names += [tensor.name for tensor in model.graph.initializer]
    known = {value.name for value in model.graph.output}
    shown = [name for name in names if name and name not in known]
    if shown:
        model.graph.output.append(helper.make_empty_tensor_value_info(chance.choice(shown)))


def drop_node(model: ModelProto, chance: random.Random) -> None:
    """Take a node away."""
    if model.graph.node:
        del model.graph.node[chance.randrange(len(model.graph.node))]


def repeat_node(model: ModelProto, chance: random.Random) -> None:
    """Let a node run twice, so that its outputs are made twice."""
    model.graph.node.append(_node(model, chance))


def shuffle_nodes(model: ModelProto, chance: random.Random) -> None:
    """Put the nodes out of order."""
    nodes = list(model.graph.node)
    chance.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def rewire(model: ModelProto, chance: random.Random) -> None:
    """Let a node read or make another tensor."""
    node = _node(model, chance)
    tensors = node.input if chance.random() < 0.7 else node.output
    if tensors:
        tensors[chance.randrange(len(tensors))] = chance.choice(_names(model))


def change_inputs(model: ModelProto, chance: random.Random) -> None:
    """Give a node more or fewer inputs."""
    node = _node(model, chance)
    if node.input and chance.random() < 0.5:
        del node.input[chance.randrange(len(node.input))]
    else:
        node.input.append(chance.choice(_names(model)))


def change_operator(model: ModelProto, chance: random.Random) -> None:
    """Make a node something else, of somebody else's."""
    node = _node(model, chance)
    node.op_type = chance.choice(_OPERATORS)
    if chance.random() < 0.2:
        node.domain = "somewhere.else"


def change_attribute(model: ModelProto, chance: random.Random) -> None:
    """Give an attribute an odd value."""
    node = _node(model, chance)
    if not node.attribute:
        node.attribute.append(helper.make_attribute(chance.choice(("axis", "perm", "axes")), [chance.randint(-9, 9)]))
        return
    entry = chance.choice(node.attribute)
    odd = chance.choice((-1, 0, 1, 7, 1 << 40, -(1 << 60)))
    if entry.ints:
        entry.ints[chance.randrange(len(entry.ints))] = odd
    else:
        entry.i = odd


def change_shape(model: ModelProto, chance: random.Random) -> None:
    """Declare odd lengths."""
    odd = chance.choice((-1, 0, 1, 2, 3, 1000, 1 << 40))
    if chance.random() < 0.5 and model.graph.initializer:
        tensor = chance.choice(model.graph.initializer)
        if tensor.dims:
            tensor.dims[chance.randrange(len(tensor.dims))] = odd
        return
    values = [*model.graph.input, *model.graph.output]
    if values:
        dims = chance.choice(values).type.tensor_type.shape.dim
        if dims:
            dims[chance.randrange(len(dims))].dim_value = odd


def change_type(model: ModelProto, chance: random.Random) -> None:
    """Declare another type."""
    kind = chance.choice((TensorProto.FLOAT16, TensorProto.INT64, TensorProto.STRING, TensorProto.BFLOAT16, 99))
    values = [*model.graph.input, *model.graph.output]
    if chance.random() < 0.5 and model.graph.initializer:
        chance.choice(model.graph.initializer).data_type = kind
    elif values:
        chance.choice(values).type.tensor_type.elem_type = kind


def drop_initializer(model: ModelProto, chance: random.Random) -> None:
    """Take a weight away."""
    if model.graph.initializer:
        del model.graph.initializer[chance.randrange(len(model.graph.initializer))]


def cut_initializer(model: ModelProto, chance: random.Random) -> None:
    """Leave a weight too few bytes."""
    if model.graph.initializer:
        tensor = chance.choice(model.graph.initializer)
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]


def move_initializer_out(model: ModelProto, chance: random.Random) -> None:
    """Let a weight lie in a file that is not there, or is none of ours."""
    if model.graph.initializer:
        tensor = chance.choice(model.graph.initializer)
        tensor.data_location = TensorProto.EXTERNAL
        place = chance.choice(("gone.bin", "../mutant.onnx", "/etc/hostname", "mutant.onnx", ""))
        tensor.external_data.add(key="location", value=place)


def change_version(model: ModelProto, chance: random.Random) -> None:
    """Come from another time."""
    if chance.random() < 0.3 or not model.opset_import:
        model.ir_version = chance.choice((0, 1, 3, 99))
    else:
        chance.choice(model.opset_import).version = chance.choice((-1, 0, 1, 6, 9, 13, 21, 99))


def change_outputs(model: ModelProto, chance: random.Random) -> None:
    """Give the model other outputs."""
    if model.graph.output and chance.random() < 0.5:
        chance.choice(model.graph.output).name = chance.choice(_names(model))
    else:
        model.graph.output.append(helper.make_empty_tensor_value_info(chance.choice(_names(model))))


def damage_contract(model: ModelProto, chance: random.Random) -> None:
    """Let the model say odd things of itself."""
    texts = ("{}", "[]", '{"schema": 1}', '{"schema": 2, "head": {}}', "[" * 100_000, "\u0000")
    model.metadata_props.add(key="secam_onnx", value=chance.choice(texts))


_SOUND = (insert_transposed, insert_transposed, scale_weight, show_tensor)
_STRUCTURAL = (
    drop_node,
    repeat_node,
    shuffle_nodes,
    rewire,
    rewire,
    change_inputs,
    change_operator,
    change_attribute,
    change_shape,
    change_type,
    drop_initializer,
    cut_initializer,
    move_initializer_out,
    change_version,
    change_outputs,
    damage_contract,
)
