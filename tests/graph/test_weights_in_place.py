"""Models read without their weights: with the weights put back, they are what protobuf reads, whatever the bytes."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tiny_models import HEADS, classifier

from secam_onnx.default_model import default_model
from secam_onnx.errors import ModelError
from secam_onnx.graph import protobuf, weights_in_place
from secam_onnx.graph.onnx_file import read_model
from secam_onnx.graph.weights_in_place import read_without_weights

LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))


@pytest.fixture
def small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny tensors count as large."""
    monkeypatch.setattr(weights_in_place, "_LARGE", 8)


def put_back(model: ModelProto, file: Path) -> int:
    """Read the weights that lie in the model's own file into it; gives how many there are."""
    found = 0
    content = file.read_bytes()
    for tensor in model.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_location == TensorProto.EXTERNAL and entries["location"] == file.name:
            assert not tensor.HasField("raw_data")
            start, length = int(entries["offset"]), int(entries["length"])
            tensor.raw_data = content[start : start + length]
            del tensor.external_data[:]
            found += 1
        if tensor.data_location != TensorProto.EXTERNAL or entries.get("location") == file.name:
            tensor.ClearField("data_location")
    return found


def whole(file: Path) -> ModelProto:
    """What protobuf reads, where the default location of data goes without saying."""
    model = onnx.load(file, format="protobuf", load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.DEFAULT:
            tensor.ClearField("data_location")
    return model


@pytest.mark.usefixtures("small_counts")
@pytest.mark.parametrize("head", HEADS)
def test_nothing_but_the_weights_is_missing(tmp_path: Path, head: str) -> None:
    file = tmp_path / "m.onnx"
    onnx.save(classifier(head), file)
    model = read_without_weights(file)
    assert put_back(model, file) > 0
    assert model == whole(file)


@pytest.mark.parametrize("file", [default_model(), *LIGHT], ids=lambda file: file.stem)
def test_real_files(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for large in (8, 1 << 16):
        monkeypatch.setattr(weights_in_place, "_LARGE", large)
        model = read_without_weights(file)
        put_back(model, file)
        assert model == whole(file)


def test_what_is_read_is_small() -> None:
    model = read_without_weights(default_model())
    assert put_back(model, default_model()) > 20
    assert read_without_weights(default_model()).ByteSize() < default_model().stat().st_size / 10


@pytest.mark.usefixtures("small_counts")
def test_data_in_other_fields_stay(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float32)
    float16 = values.astype(np.float16)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(values, "sparse"), numpy_helper.from_array(np.arange(20)), [40]
    )
    external = TensorProto(name="external", data_type=TensorProto.FLOAT, dims=[20], data_location=TensorProto.EXTERNAL)
    external.external_data.add(key="location", value="other.bin")
    wrong = TensorProto(name="wrong", data_type=TensorProto.FLOAT, dims=[19], raw_data=values.tobytes())
    both = TensorProto(name="both", data_type=TensorProto.FLOAT, dims=[20], raw_data=values.tobytes(), float_data=[1])
    said = TensorProto(name="said", data_type=TensorProto.FLOAT, dims=[20], raw_data=values.tobytes())
    said.data_location = TensorProto.DEFAULT
    tensors = [
        numpy_helper.from_array(values, "raw"),
        helper.make_tensor("floats", TensorProto.FLOAT, [20], values),
        helper.make_tensor("halves", TensorProto.FLOAT16, [20], float16),
        TensorProto(name="packed", data_type=TensorProto.INT4, dims=[40], raw_data=bytes(20)),
        TensorProto(name="text", data_type=TensorProto.STRING, dims=[20], raw_data=bytes(20)),
        TensorProto(name="negative", data_type=TensorProto.FLOAT, dims=[-20], raw_data=values.tobytes()),
        *(external, wrong, both, said),
    ]
    graph = helper.make_graph([], "g", [], [], tensors, sparse_initializer=[sparse])
    file = tmp_path / "m.onnx"
    file.write_bytes(helper.make_model(graph).SerializeToString())
    model = read_without_weights(file)
    own = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL and tensor.external_data[0].value == file.name
    }
    assert own == {"raw", "packed", "said"}
    put_back(model, file)
    assert model == whole(file)


@pytest.mark.usefixtures("small_counts")
def test_graphs_in_several_pieces_are_merged(tmp_path: Path) -> None:
    one, other = classifier("gap+fc").SerializeToString(), classifier("flatten+fc", seed=2).SerializeToString()
    file = tmp_path / "m.onnx"
    file.write_bytes(one + other)
    model = read_without_weights(file)
    assert put_back(model, file) > 4
    assert model == whole(file)


def test_too_many_fields_are_left_to_protobuf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_in_place, "_LARGE", 8)
    monkeypatch.setattr(protobuf, "_MOST", 10)
    file = tmp_path / "m.onnx"
    onnx.save(classifier(), file)
    assert read_without_weights(file) == onnx.load(file)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or put in."""
    result = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(result))
        kind = chance.randrange(6)
        if kind == 0:
            result[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            result[at] = chance.choice([0, 1, 0x3A, 0x2A, 0x4A, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del result[at : at + chance.randint(1, 40)]
        elif kind == 3:
            result[at:at] = result[at : at + chance.randint(1, 200)]
        elif kind == 4:
            result[at:at] = chance.choice(
                [b"\xff" * 9, b"\x80" * 12, b"\x3a\xff\xff\xff\xff\x07", b"\x2b\x2c", b"\x3a\x00"]
            )
        else:
            del result[chance.randrange(1, len(result)) :]
        if len(result) < 2:
            return b"\0"
    return bytes(result)


@pytest.mark.usefixtures("small_counts")
@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_are_what_protobuf_makes_of_them(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    data = classifier(chance.choice(list(HEADS)), seed=seed).SerializeToString()
    file = tmp_path / "m.onnx"
    outcomes = {True: 0, False: 0}
    for _ in range(400):
        file.write_bytes(mutated(data, chance))
        try:
            expected = whole(file)
        except DecodeError:
            expected = None
        if expected is None:
            with pytest.raises(DecodeError):
                read_without_weights(file)
        else:
            model = read_without_weights(file)
            put_back(model, file)
            assert model.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
        outcomes[expected is None] += 1
    assert min(outcomes.values()) > 20


def test_a_length_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"\x3a\xff\xff\xff\xff\x07" + bytes(100_000))
    with pytest.raises(DecodeError):
        read_without_weights(file)
    with pytest.raises(ModelError, match="cut off"):
        read_model(file)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_no_location_can_have(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.onnx")
    file.write_bytes(default_model().read_bytes())
    assert read_without_weights(file) == onnx.load(default_model())
