"""Broken and hostile model files: each is written into a folder, with what else it takes, and must be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tiny_models
from onnx import AttributeProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

__all__ = ["BROKEN", "write_external"]

Change = Callable[[ModelProto], object]


def changed(change: Change, **options: object) -> Callable[[Path], bytes]:
    """A small classifier, changed in place."""

    def make(folder: Path) -> bytes:
        model = tiny_models.classifier(**options)
        change(model)
        return model.SerializeToString()

    return make


def node_of(model: ModelProto, op: str) -> NodeProto:
    return next(node for node in model.graph.node if node.op_type == op)


def initializer(model: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def make_external(tensor: TensorProto, **entries: object) -> bytes:
    """Declare that a tensor's data lies elsewhere; gives the data."""
    data = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return data


def write_external(folder: Path, name: str = "tiny.data", **entries: object) -> bytes:
    """A small classifier with one weight in a file of its own, at `name` below `folder`."""
    model = tiny_models.classifier()
    data = make_external(initializer(model, "logits.weight"), location=name, **entries)
    (folder / name).write_bytes(data)
    return model.SerializeToString()


def external(location: str, prepare: Callable[[Path, bytes], object] | None = None, **entries: object):
    """One weight of a small classifier lies at `location`; `prepare` puts it, or something else, there."""

    def make(folder: Path) -> bytes:
        model = tiny_models.classifier()
        data = make_external(initializer(model, "logits.weight"), location=location, **entries)
        if prepare is not None:
            prepare(folder, data)
        return model.SerializeToString()

    return make


def outside(folder: Path, data: bytes) -> None:
    """A file that is there and has the right size, so that only the place is wrong."""
    (folder.parent / "outside.data").write_bytes(data)


def linked(folder: Path, data: bytes) -> None:
    outside(folder, data)
    (folder / "link.data").symlink_to(folder.parent / "outside.data")


def linked_folder(folder: Path, data: bytes) -> None:
    outside(folder, data)
    (folder / "weights").symlink_to(folder.parent)


def cycle(model: ModelProto) -> None:
    nodes = model.graph.node
    node_of(model, "GlobalAveragePool").input[0] = "looped"
    nodes.append(helper.make_node("Relu", ["flat"], ["looped"], name="back"))


def dims_of_input(model: ModelProto, *dims: int) -> None:
    shape = model.graph.input[0].type.tensor_type.shape
    for dim, length in zip(shape.dim, dims, strict=True):
        dim.Clear()
        dim.dim_value = length


def no_classes(model: ModelProto) -> None:
    for name in ("logits.weight", "logits.bias"):
        tensor = initializer(model, name)
        tensor.CopyFrom(numpy_helper.from_array(np.zeros((0, *tensor.dims[1:]), np.float32), name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 0


def declared(name: str, *dims: int) -> Change:
    def change(model: ModelProto) -> None:
        initializer(model, name).dims[:] = dims

    return change


def huge_constant(model: ModelProto) -> None:
    """2^40 numbers in one node of a few bytes."""
    shape = numpy_helper.from_array(np.array([2**20, 2**20]), "huge_shape")
    model.graph.initializer.append(shape)
    nodes = [
        helper.make_node("ConstantOfShape", ["huge_shape"], ["huge"], name="huge"),
        helper.make_node("ReduceMax", ["huge"], ["one"], keepdims=0, name="one"),
        helper.make_node("Mul", ["flat", "one"], ["scaled"], name="scaled"),
    ]
    last = model.graph.node.pop()
    last.input[0] = "scaled"
    model.graph.node.extend([*nodes, last])


def nested(levels: int, op: str) -> Change:
    """If in If in If, or Loop in Loop, below the logits."""

    def body(level: int) -> list:
        name = f"nested{level}"
        if level == levels:
            return [helper.make_node("Identity", ["logits_raw"], [name])]
        below = helper.make_graph(body(level + 1), f"graph{level}", [], [tensor(f"nested{level + 1}")])
        if op == "If":
            return [helper.make_node("If", ["yes"], [name], then_branch=below, else_branch=stop(level))]
        trip = [helper.make_tensor_value_info(f"i{level}", TensorProto.INT64, []),
                helper.make_tensor_value_info(f"c{level}", TensorProto.BOOL, [])]  # fmt: skip
        below.input.extend(trip)
        below.node.append(helper.make_node("Identity", ["yes"], [f"go{level}"]))
        del below.output[:]
        below.output.extend([helper.make_tensor_value_info(f"go{level}", TensorProto.BOOL, []),
                             tensor(f"nested{level + 1}")])  # fmt: skip
        return [helper.make_node("Loop", ["three", "yes"], [name], body=below)]

    def stop(level: int):
        name = f"stopped{level}"
        return helper.make_graph([helper.make_node("Identity", ["logits_raw"], [name])], name, [], [tensor(name)])

    def tensor(name: str):
        return helper.make_empty_tensor_value_info(name)

    def change(model: ModelProto) -> None:
        node_of(model, "Gemm").output[0] = "logits_raw"
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(3), "three"))
        model.graph.node.extend(body(0))
        model.graph.node.append(helper.make_node("Identity", ["nested0"], ["logits"]))

    return change


def string_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def sparse(model: ModelProto) -> None:
    tensor = initializer(model, "logits.weight")
    values = numpy_helper.to_array(tensor)
    model.graph.initializer.remove(tensor)
    model.graph.sparse_initializer.append(
        SparseTensorProto(
            values=numpy_helper.from_array(values.reshape(-1), "logits.weight"),
            indices=numpy_helper.from_array(np.arange(values.size)),
            dims=values.shape,
        )
    )


def recursive_functions(model: ModelProto) -> None:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for name, calls in (("First", "Second"), ("Second", "First")):
        body = [helper.make_node(calls, ["x"], ["y"], domain="own")]
        model.functions.append(helper.make_function("own", name, ["x"], ["y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    node = node_of(model, "Relu")
    node.op_type, node.domain = "First", "own"


def function_bomb(model: ModelProto) -> None:
    """Ten functions of which each calls the next ten times: 10^10 nodes."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for level in range(10):
        kind = {"op_type": f"F{level + 1}", "domain": "own"} if level < 9 else {"op_type": "Relu", "domain": ""}
        body = [NodeProto(input=[f"t{i}"], output=[f"t{i + 1}"], **kind) for i in range(10)]
        model.functions.append(helper.make_function("own", f"F{level}", ["t0"], ["t10"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    node = node_of(model, "Relu")
    node.op_type, node.domain = "F0", "own"


def with_metadata(**changes: object) -> Callable[[Path], bytes]:
    """An explainable model whose metadata say something else than its graph."""

    def make(folder: Path) -> bytes:
        from secam_onnx.classifier.analysis import analyse

        model = tiny_models.classifier(softmax=True)
        own = analyse(model).metadata
        data = json.loads(own.to_json())
        for path, value in changes.items():
            *parents, last = path.split("__")
            place = data
            for parent in parents:
                place = place[parent]
            place[last] = value
        model.metadata_props.add(key="secam_onnx", value=json.dumps(data))
        return model.SerializeToString()

    return make


def many_nodes(model: ModelProto) -> None:
    """More nodes than any stack holds, one of which nobody knows."""
    last = model.graph.node.pop()
    steps = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"], name=f"n{i}") for i in range(50_000)]
    steps[0].input[0], last.input[0] = "flat", "t50000"
    steps[25_000].op_type = "Unheard"
    model.graph.node.extend([*steps, last])


def attribute(op: str, **attributes: object) -> Change:
    def change(model: ModelProto) -> None:
        node = node_of(model, op)
        for name, value in attributes.items():
            for index, entry in enumerate(node.attribute):
                if entry.name == name:
                    del node.attribute[index]
                    break
            if value is not None:
                node.attribute.append(
                    value if isinstance(value, AttributeProto) else helper.make_attribute(name, value)
                )

    return change


def metadata(text: str) -> Change:
    return lambda model: model.metadata_props.add(key="secam_onnx", value=text)


def rename_output(model: ModelProto, index: int, name: str) -> None:
    model.graph.node[index].output[0] = name


BROKEN: dict[str, tuple[Callable[[Path], bytes], tuple[str, ...]]] = {
    "cycle": (changed(cycle), ("damaged", "cycl", "looped")),
    "reads-nothing": (changed(lambda m: node_of(m, "Relu").input.__setitem__(0, "ghost")), ("damaged", "'ghost'")),
    "made-twice": (changed(lambda m: rename_output(m, 1, "conv0")), ("damaged", "'conv0'", "twice")),
    "no-output": (changed(lambda m: m.graph.node[0].output.__delitem__(0)), ("damaged", "no output")),
    "empty-output": (changed(lambda m: rename_output(m, 0, "")), ("damaged", "no output")),
    "output-not-made": (changed(lambda m: setattr(m.graph.output[0], "name", "ghost")), ("damaged", "'ghost'")),
    "weight-twice": (
        changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        ("damaged", r"conv0\.weight", "twice"),
    ),
    "no-operator": (changed(lambda m: setattr(m.graph.node[1], "op_type", "")), ("damaged", "operator")),
    "missing-data": (external("gone.data"), (r"gone\.data", "does not exist", "beside")),
    "data-above": (external("../outside.data", outside), (r"\.\./outside\.data", "outside")),
    "data-absolute": (external("/outside.data"), ("outside", "folder")),
    "data-link": (external("link.data", linked), (r"link\.data", "link")),
    "data-linked-folder": (external("weights/outside.data", linked_folder), (r"weights/outside\.data", "link|outside")),
    "data-no-location": (external(""), ("damaged", "location")),
    "data-is-folder": (external("sub", lambda folder, data: (folder / "sub").mkdir()), ("sub", "not a file")),
    "data-short": (
        external("short.data", lambda folder, data: (folder / "short.data").write_bytes(data[:20])),
        (r"short\.data", "20 bytes", "168"),
    ),
    "data-offset": (
        external("short.data", lambda folder, data: (folder / "short.data").write_bytes(data), offset=100),
        (r"short\.data", "bytes"),
    ),
    "data-length": (
        external("short.data", lambda folder, data: (folder / "short.data").write_bytes(data), length=16),
        (r"short\.data|logits\.weight", "16 bytes", "168"),
    ),
    "data-offset-negative": (
        external("short.data", lambda folder, data: (folder / "short.data").write_bytes(data), offset=-4),
        ("damaged", "offset"),
    ),
    "data-offset-word": (
        external("short.data", lambda folder, data: (folder / "short.data").write_bytes(data), offset="many"),
        ("damaged", "offset"),
    ),
    "no-classes": (changed(no_classes), ("number of classes|0 classes",)),
    "unknown-operator": (changed(lambda m: setattr(node_of(m, "Relu"), "op_type", "Unheard")), ("Unheard",)),
    "unknown-domain": (changed(lambda m: setattr(node_of(m, "Relu"), "domain", "com.example")), (r"com\.example",)),
    "opset-future": (changed(lambda m: setattr(m.opset_import[0], "version", 999)), ("opset", "999")),
    "opset-zero": (changed(lambda m: setattr(m.opset_import[0], "version", 0)), ("opset", "0")),
    "ir-future": (changed(lambda m: setattr(m, "ir_version", 999)), ("IR", "999")),
    "huge-weight": (changed(declared("logits.weight", 2**20, 2**20)), ("damaged", r"logits\.weight", "bytes")),
    "overflowing-weight": (changed(declared("logits.weight", 2**62, 4)), ("damaged", r"logits\.weight")),
    "negative-weight": (changed(declared("logits.weight", -7, 6)), ("damaged", r"logits\.weight", "-7")),
    "short-weight": (
        changed(lambda m: setattr(initializer(m, "logits.weight"), "raw_data", b"1234567")),
        ("damaged", r"logits\.weight", "7 bytes", "168"),
    ),
    "weight-of-no-type": (
        changed(lambda m: setattr(initializer(m, "logits.weight"), "data_type", 99)),
        ("damaged", r"logits\.weight", "type"),
    ),
    "huge-constant": (changed(huge_constant), ("1048576", "huge")),
    "huge-image": (changed(lambda m: dims_of_input(m, 1, 3, 2**30, 2**30)), ("image", "1073741824")),
    "negative-image": (changed(lambda m: dims_of_input(m, 1, 3, -4, 32)), ("image", "-4")),
    "empty-image": (changed(lambda m: dims_of_input(m, 1, 3, 0, 32)), ("image", r"\b0\b")),
    "huge-batch": (changed(lambda m: dims_of_input(m, 2**40, 3, 32, 32)), ("image", "1099511627776")),
    "nested-if": (changed(nested(30, "If")), ("nested more than 20 deep",)),
    "nested-loop": (changed(nested(30, "Loop")), ("nested more than 20 deep",)),
    "strings": (changed(string_input), ("image", "string", "float")),
    "sparse": (changed(sparse), (r"logits\.weight", "sparse", "dense")),
    "recursive-functions": (changed(recursive_functions), ("First|Second", "itself")),
    "function-bomb": (changed(function_bomb), ("functions", "nodes")),
    "many-nodes": (changed(many_nodes), ("Unheard",)),
    "attribute-type": (changed(attribute("Conv", strides="four")), ("Conv", "strides")),
    "no-stride": (changed(attribute("Conv", strides=[0, 0])), ("damaged", "Conv", "strides of 0")),
    "transB-float": (changed(attribute("Gemm", transB=1.5)), ("Gemm", "transB")),
    "empty-attribute": (changed(attribute("Gemm", alpha=AttributeProto(name="alpha"))), ("Gemm|alpha",)),
    "metadata-features": (with_metadata(head__features="ghost"), ("ghost", "export")),
    "metadata-output": (with_metadata(explained_output="ghost"), ("ghost", "export")),
    "metadata-logits": (with_metadata(logits="ghost"), ("ghost", "export")),
    "metadata-number": (with_metadata(head__features=5), ("metadata is damaged", "export")),
    "metadata-shape": (with_metadata(head__shape="wide"), ("metadata is damaged", "export")),
    "metadata-labels": (with_metadata(labels=[1, {}, None]), ("metadata is damaged", "export")),
    "metadata-few-labels": (with_metadata(labels=["one"]), ("1 labels? for 7|7 classes", "export|label")),
    "metadata-huge-size": (with_metadata(preprocessing__size=[10**6, 10**6]), ("export|preprocessing|size",)),
    "metadata-list": (changed(metadata("[1]")), ("metadata is damaged", "export")),
    "metadata-deep": (changed(metadata("[" * 200_000)), ("metadata is damaged", "export")),
    "metadata-deep-object": (changed(metadata('{"schema":' * 100_000)), ("metadata is damaged", "export")),
    "metadata-large": (changed(metadata('"' + "x" * 100_000_000 + '"')), ("metadata", "bytes|damaged")),
    "metadata-number-of-digits": (changed(metadata('{"schema": ' + "9" * 10_000 + "}")), ("metadata",)),
    "metadata-other-schema": (changed(metadata('{"schema": 1}')), ("schema 1", "export")),
}  # fmt: skip
"""What is written to `NAME.onnx`, given the folder, and words of the message."""
