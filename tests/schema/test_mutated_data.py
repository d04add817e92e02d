"""Metadata, files beside a model and label files with values changed: read, or refused by an error of ours.

By default some examples of each; more by hand: `SECAM_FUZZ_EXAMPLES=20000 pytest tests/schema`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutated_json import mutated

from secam_onnx import Explainer, fuse
from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.metadata import KEY, ModelMetadata
from secam_onnx.errors import SecamError
from secam_onnx.export import Source, export_model
from secam_onnx.labels.label_files import read_labels
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.sidecars.beside_model import activation_beside, preprocessing_beside
from secam_onnx.photograph.sidecars.metadata_props import preprocessing_inside
from secam_onnx.photograph.sidecars.stated_labels import stated_labels

EXAMPLES = int(os.environ.get("SECAM_FUZZ_EXAMPLES", "60"))
SETTINGS = Preprocessing.preset("torchvision", (32, 32))
LABELS = tuple(f"thing {index}" for index in range(7))
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def fuzzed(share: float = 1.0) -> Callable[[Any], Any]:
    """This share of the examples, without a limit of time."""
    return settings(
        max_examples=max(10, int(share * EXAMPLES)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An explainable model and a fused one."""
    folder = tmp_path_factory.mktemp("models")
    onnx.save(tiny_models.classifier(softmax=True), folder / "source.onnx")
    source = Source(tiny_models.classifier(softmax=True), SETTINGS, LABELS, {"source": "test"})
    export_model(source, folder / "explainable.onnx")
    fuse(folder / "source.onnx", folder / "fused.onnx", preprocessing=SETTINGS, labels=LABELS)
    return {name: folder / f"{name}.onnx" for name in ("explainable", "fused")}


def entry_of(file: Path) -> Any:
    (text,) = (entry.value for entry in onnx.load(file).metadata_props if entry.key == KEY)
    return json.loads(text)


def refused(read: Callable[[], object]) -> str:
    """The message of the error; empty if there is none."""
    try:
        read()
    except SecamError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["explainable", "fused"])
@fuzzed(4)
@given(st.data())
def test_metadata(kind: str, files: dict[str, Path], data: st.DataObject) -> None:
    text = data.draw(mutated(entry_of(files[kind])))
    try:
        metadata = ModelMetadata.from_json(text)
    except SecamError:
        return
    assert ModelMetadata.from_json(metadata.to_json()) == metadata


@pytest.mark.parametrize("kind", ["explainable", "fused"])
@fuzzed(1)
@given(st.data())
def test_models(kind: str, files: dict[str, Path], tmp_path: Path, data: st.DataObject) -> None:
    text = data.draw(mutated(entry_of(files[kind])))
    if refused(lambda: ModelMetadata.from_json(text)):
        return
    model, file = onnx.load(files[kind]), tmp_path / "changed.onnx"
    (entry,) = (entry for entry in model.metadata_props if entry.key == KEY)
    entry.value = text
    onnx.save(model, file)
    with contextlib.suppress(SecamError), Explainer(file, providers="cpu") as explainer:
        assert repr(explainer)
        written(explainer.explain(PICTURE, 0).to_dict())
        written(inspect_model(file))


def written(value: Any) -> None:
    """As results are written to files and answered by the server."""
    json.dumps(value, ensure_ascii=False).encode()


IMAGE = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}
BESIDE: list[tuple[str, Any]] = [
    (
        "preprocessor_config.json",
        {"image_processor_type": f"{kind}ImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32, **IMAGE}
        | {"crop_pct": 0.9, "do_center_crop": True, "resample": 3, "do_flip_channel_order": False},
    )
    for kind in ("CLIP", "ConvNext", "PoolFormer", "Levit", "EfficientNet", "")
]
BESIDE += [
    ("preprocessor_config.json", {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}),
    ("config.json", {"id2label": dict(enumerate(LABELS)), "problem_type": "multi_label_classification"}),
    (
        "config.json",
        {"architecture": "resnet18", "label_names": list(LABELS), "label_descriptions": {"thing 0": "first"}}
        | {
            "pretrained_cfg": {"input_size": [3, 32, 32], "crop_pct": 0.9, "mean": [0.5] * 3, "std": [0.5] * 3}
            | {"interpolation": "bicubic", "crop_mode": "center", "fixed_input_size": True},
            "model_args": {"img_size": [32, 32]},
        },
    ),
    ("label_schema.json", {"label_names": list(LABELS)}),
    ("label_schema.json", {"all_labels": {str(index): {"name": name} for index, name in enumerate(LABELS)}}),
]


@fuzzed(4)
@given(st.data())
def test_files_beside_a_model(tmp_path: Path, data: st.DataObject) -> None:
    name, valid = data.draw(st.sampled_from(BESIDE))
    (tmp_path / name).write_text(data.draw(mutated(valid)))
    model = tmp_path / "model.onnx"

    def read() -> None:
        assert len(stated_labels({}, model, len(LABELS))[1]) < 2000
        activation_beside(model)
        found, _ = preprocessing_beside(model)
        if found is not None:
            str(Preprocessing.from_settings(found, (32, 32)))

    assert len(refused(read)) < 2000
    (tmp_path / name).unlink()


INSIDE: list[dict[str, str]] = [
    {"task": "classify", "imgsz": "[32, 32]", "names": str(dict(enumerate(LABELS)))},
    {"names": json.dumps(LABELS), "labels": ",".join(LABELS), "classes": "\n".join(LABELS)},
    {"model_info mean_values": "1 2 3", "model_info scale_values": "1 2 3", "model_info labels": "a b c d e f g"},
    {"model_info resize_type": "fit_to_window_letterbox", "model_info pad_value": "7", "model_info otx_version": "2"},
    {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_0_1", "character": "\n".join(LABELS)},
]
WORDS = st.sampled_from(
    [
        *(
            "",
            "9" * 5000,
            "1e400",
            "nan",
            "-1",
            "\ud800",
            "\0",
            "\x1b[2J",
            "[" * 90,
            "(" * 90,
            "'",
            '"',
            ",",
            "\n",
            ":",
        ),
        *(":", "- ", "#", "{", "}", "]", "0", "names:", " " * 3000, "-" * 3000, "a" * 3000, "\t", "\r", ";", "|", "\\"),
        *("\\ud800", "\\x", "''" + "'", "b'", "f'{1}'", "None", "...", "1_0", "0x", "~", "not ", "lambda: "),
    ]
)


def cut(draw: st.DataObject, text: str) -> str:
    """The text with a few places replaced by something odd."""
    for _ in range(draw.draw(st.integers(1, 4))):
        start = draw.draw(st.integers(0, len(text)))
        end = draw.draw(st.integers(start, min(len(text), start + 5)))
        text = text[:start] + draw.draw(WORDS) + text[end:]
    return text


@fuzzed(4)
@given(st.data())
def test_metadata_of_other_programs(data: st.DataObject) -> None:
    stated = dict(data.draw(st.sampled_from(INSIDE)))
    key = data.draw(st.sampled_from(sorted(stated)))
    stated[key] = cut(data, stated[key])

    def read() -> None:
        assert len(stated_labels(stated, None, len(LABELS))[1]) < 4000
        found = preprocessing_inside(stated)
        if found is not None:
            str(Preprocessing.from_settings(found, (32, 32)))

    assert len(refused(read)) < 2000


TEXTS: list[tuple[str, str]] = [
    ("a.txt", "\n".join(LABELS)),
    ("a.txt", "\n".join(f"{index}: {name}" for index, name in enumerate(LABELS))),
    ("a.txt", "\n".join(f"n{index:08} {name}" for index, name in enumerate(LABELS))),
    ("a.txt", repr(dict(enumerate(LABELS)))),
    ("a.json", json.dumps({"id2label": dict(enumerate(LABELS))})),
    ("a.csv", "\n".join(f'{index},"{name}"' for index, name in enumerate(LABELS))),
    ("a.yaml", "names:\n" + "\n".join(f"  {index}: '{name}'" for index, name in enumerate(LABELS))),
    ("a.yaml", "path: x\nnames: [" + ", ".join(map(repr, LABELS)) + "]  # all\n"),
    ("a.yaml", "- " + "\n- ".join(LABELS)),
]


@fuzzed(4)
@given(st.data())
def test_label_files(tmp_path: Path, data: st.DataObject) -> None:
    name, text = data.draw(st.sampled_from(TEXTS))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-8-sig", "latin-1"]))
    (tmp_path / name).write_bytes(cut(data, text).encode(encoding, "surrogatepass" if "utf" in encoding else "replace"))

    def read() -> None:
        labels = read_labels(tmp_path / name)
        assert all(label and label == label.strip() and label.encode() for label in labels)

    assert len(refused(read)) < 2000
