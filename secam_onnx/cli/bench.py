"""`secam-onnx bench`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from secam_onnx.cli.console import say_lines
from secam_onnx.cli.options import memory_limit_option, timeout_option
from secam_onnx.cli.progress import step

__all__ = ["command"]


@click.command("bench")
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Measure this ONNX classifier, a file or the folder that holds it; may be repeated.  [default: "
    "EfficientNet-Lite0 for ImageNet]",
)
@click.option("--image", type=click.Path(path_type=Path), help="Explain this photograph.  [default: a cat, 451 x 300]")
@click.option("--rounds", default=20, show_default=True, metavar="N", help="Let all candidates take turns N times.")
@click.option(
    "--provider", default="cpu", show_default=True, metavar="NAME", help="Run the model on auto, cpu or cuda."
)
@click.option("--batch-size", type=int, metavar="N", help="Explain N images per call.  [default: 1; on a GPU 32]")
@click.option(
    "--images",
    default=200,
    show_default=True,
    metavar="N",
    help="Explain a folder of N photographs; 0 leaves it out.",
)
@click.option(
    "--lime-samples",
    default=1000,
    show_default=True,
    metavar="N",
    help="Give LIME N samples, if it is installed; 0 leaves it out.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write every single duration to this file, too."
)
@timeout_option
@memory_limit_option
def command(
    models: tuple[Path, ...],
    image: Path | None,
    rounds: int,
    provider: str,
    batch_size: int | None,
    images: int,
    lime_samples: int,
    json_file: Path | None,
) -> None:
    """Measure what an explanation costs compared with the plain forward pass.

    These take turns in one run: a bare forward pass of ONNX Runtime, SeCAM for one class and for all, superpixels, LIME
    if it is installed, and a folder to Parquet. Then the peak memory of fresh processes is measured. Export a model
    that needs options first (`secam-onnx export`). Keep the machine free of other work meanwhile.
    """
    from secam_onnx.bench import Settings, measure, record, report
    from secam_onnx.default_model import default_model
    from secam_onnx.files import new_file

    settings = Settings(
        rounds=rounds,
        batch_size=batch_size,
        provider=provider,
        photograph=image,
        lime_samples=lime_samples,
        folder_images=images,
    )
    if json_file is not None and not json_file.parent.is_dir():
        raise click.BadParameter(f"the folder {json_file.parent} does not exist.", param_hint="--json")
    results = {**record(["lime"]), "settings": dataclasses.asdict(settings), "models": {}}
    for model in models or (default_model(),):
        with step(str(model)):
            name = str(model) if model.stem in results["models"] else model.stem
            results["models"][name] = measure(model, settings)
    if json_file is not None:
        with new_file(json_file) as temporary:
            temporary.write_text(json.dumps(results, indent=1, default=str) + "\n", encoding="utf-8")
    say_lines(report(results))
