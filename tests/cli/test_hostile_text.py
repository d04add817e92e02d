"""Nothing of a stranger's reaches a terminal raw, whatever the command and wherever the text comes from."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import tiny_models
from PIL import Image
from terminal import HOSTILE, HOSTILE_NAME, left_raw

LONG = "x" * 100_000
BRIEF = ("--preprocess", "unit", "--activation", "softmax", "--pictures", "1")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, labels, photographs and archives, all of a stranger's making."""
    room = tmp_path_factory.mktemp("room")
    _models(room)
    (room / "photos" / HOSTILE_NAME).mkdir(parents=True)
    for number, folder in enumerate((room / "photos", room / "photos" / HOSTILE_NAME)):
        Image.linear_gradient("L").convert("RGB").resize((40, 30 + number)).save(folder / f"{HOSTILE_NAME}.png")
        (folder / f"{HOSTILE_NAME}bad.png").write_bytes(b"\x89PNG no")
    with tarfile.open(room / "shard.tar", "w") as archive:
        for name, data in ((f"{HOSTILE}.png", _png()), (f"{HOSTILE}/bad.png", b"no"), (f"{HOSTILE}{LONG}.png", b"no")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (room / "list.txt").write_bytes(b"photos/missing\x1b[2J\x07\xc2\x9b31m\xe2\x80\xae.png\n/photos/\xff.png\n")
    (room / "broken.json").write_text(json.dumps([HOSTILE] * 3))
    return room


def _models(room: Path) -> None:
    model = tiny_models.classifier()
    (room / "m.onnx").write_bytes(model.SerializeToString())
    (room / "labels.json").write_text(json.dumps([f"{HOSTILE}{index}" for index in range(6)] + [LONG]))
    (room / "named.onnx").write_bytes(_renamed(tiny_models.classifier()).SerializeToString())
    for key, value in (("labels", json.dumps([HOSTILE] * 7)), ("names", str({0: HOSTILE})), (HOSTILE, HOSTILE)):
        model.metadata_props.add(key=key, value=value)
    (room / f"{HOSTILE_NAME}.onnx").write_bytes(model.SerializeToString())
    refused = _renamed(tiny_models.mlp_on_pixels())
    (room / "refused.onnx").write_bytes(refused.SerializeToString())
    refused.graph.node[0].op_type = f"Op{HOSTILE}"
    (room / "operator.onnx").write_bytes(refused.SerializeToString())
    refused.graph.node[0].domain = HOSTILE
    (room / "domain.onnx").write_bytes(refused.SerializeToString())
    shape = _renamed(tiny_models.classifier())
    shape.graph.initializer[-1].dims[0] += 1
    (room / "shape.onnx").write_bytes(shape.SerializeToString())
    (room / "text.onnx").write_text(HOSTILE)
    hub = room / "hub"
    hub.mkdir()
    (hub / "model.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    (hub / "config.json").write_text(json.dumps({"id2label": {str(index): HOSTILE for index in range(7)}}))
    (hub / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": HOSTILE, "size": HOSTILE}))


def _renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with hostile names of all tensors and nodes."""
    graph = model.graph
    for node in graph.node:
        node.name += HOSTILE
        node.input[:] = [f"{name}{HOSTILE}" for name in node.input]
        node.output[:] = [f"{name}{HOSTILE}" for name in node.output]
    for tensor in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        tensor.name += HOSTILE
    return model


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((40, 30)).save(buffer, "PNG")
    return buffer.getvalue()


PHOTO = f"photos/{HOSTILE_NAME}.png"
COMMANDS = {
    "a class file": ["explain", PHOTO, "-m", "m.onnx", "--labels", "labels.json", *BRIEF],
    "a long class": ["explain", PHOTO, "-m", "m.onnx", "--labels", "labels.json", "--class", LONG[:-1], *BRIEF],
    "classes in the model": ["explain", PHOTO, "-m", f"{HOSTILE_NAME}.onnx", *BRIEF],
    "a folder": ["explain", "photos", "-m", "m.onnx", "--labels", "labels.json", "-o", f"out{HOSTILE_NAME}", *BRIEF],
    "a folder, as JSON": ["explain", "photos", "-m", "m.onnx", "--json-progress", *BRIEF],
    "an archive": ["explain", "shard.tar", "-m", "m.onnx", *BRIEF],
    "a list": ["explain", "--from-list", "list.txt", "-m", "m.onnx", *BRIEF],
    "a class": ["explain", PHOTO, "-m", "m.onnx", "--labels", "labels.json", "--class", f"n{HOSTILE}", *BRIEF],
    "a missing file": ["explain", f"no{HOSTILE_NAME}.png", "-m", "m.onnx"],
    "a missing model": ["explain", PHOTO, "-m", f"no{HOSTILE_NAME}.onnx"],
    "an option": ["explain", f"--no{HOSTILE_NAME}", PHOTO],
    "a choice": ["explain", PHOTO, "--activation", HOSTILE],
    "a number": ["explain", PHOTO, "--threads", HOSTILE],
    "an argument": ["inspect", "m.onnx", HOSTILE_NAME],
    "a command": [HOSTILE],
    "names of tensors": ["explain", PHOTO, "-m", "named.onnx", *BRIEF],
    "names of tensors, inspected": ["inspect", "named.onnx"],
    "names of tensors, as JSON": ["inspect", "named.onnx", "--json", "--labels"],
    "names of tensors, exported": [
        "export",
        "named.onnx",
        "-o",
        f"named{HOSTILE_NAME}.onnx",
        "--labels",
        "labels.json",
    ],
    "names of tensors, fused": ["export", "named.onnx", "--fused", "-o", "fused.onnx", "--labels", "labels.json"],
    "a head": ["inspect", "refused.onnx"],
    "an operator": ["inspect", "operator.onnx"],
    "a domain": ["inspect", "domain.onnx"],
    "a shape": ["inspect", "shape.onnx"],
    "a tensor": ["inspect", "m.onnx", "--features", HOSTILE],
    "no model": ["inspect", "text.onnx"],
    "classes in the model, inspected": ["inspect", f"{HOSTILE_NAME}.onnx", "--labels"],
    "classes in the model, as JSON": ["inspect", f"{HOSTILE_NAME}.onnx", "--labels", "--json"],
    "files beside the model": ["inspect", "hub"],
    "too few classes": ["export", "m.onnx", "--labels", "broken.json", "-o", "never.onnx"],
    "a static page": ["demo", "-m", f"{HOSTILE_NAME}.onnx", "--static", f"page{HOSTILE_NAME}"],
    "a model to serve": ["serve", "-m", f"{HOSTILE_NAME}.onnx"],
    "a model that is not there": ["serve", "-m", f"a=no{HOSTILE_NAME}.onnx"],
}


LIVE = ["a class file", "a folder", "an archive", "an option", "names of tensors, inspected", "a static page"]
"""Where a terminal is written to differently: bars, bold type, lines that are overwritten."""


def _words(case: str) -> list[bytes]:
    return [os.fsencode(word) for word in (sys.executable, "-m", "secam_onnx", *COMMANDS[case])]


def _piped(words: list[bytes], room: Path) -> bytes:
    done = subprocess.run(words, cwd=room, capture_output=True, check=False, timeout=120)
    return done.stdout + done.stderr


def _on_a_terminal(words: list[bytes], room: Path) -> bytes:
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, cwd=room, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        output, deadline = b"", time.monotonic() + 120
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
            while time.monotonic() < deadline and (select.select([ours], [], [], 1)[0] or process.poll() is None):
                if select.select([ours], [], [], 0)[0]:
                    output += os.read(ours, 65536)
        process.kill()
    os.close(ours)
    return output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "run"), [(case, _piped) for case in COMMANDS] + [(case, _on_a_terminal) for case in LIVE]
)
def test_no_command_writes_it_raw(case: str, run: Callable[..., bytes], room: Path) -> None:
    output = run(_words(case), room)
    assert left_raw(output) == [], output
    assert not any(line.startswith(b"two") for line in output.splitlines()), "a line of the stranger's"
    assert b"Traceback" not in output, output
    assert max(map(len, output.splitlines())) < 5000
