"""All maps of one photograph or mosaic, and how faithful or well placed they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secam_onnx import Segmenter
from secam_onnx.superpixels import pooling_matrices, segment
from studies.attention import lime
from studies.attention.maps import VALUES, average, held_maps, masked_maps
from studies.attention.transformer import CLASS_TOKEN, Head, Transformer
from studies.evaluation.faithfulness import Canvas, Ranking

__all__ = ["CUTS", "LIME", "Row", "Study", "measure_mosaic", "measure_photograph", "named_maps"]

CUTS = (1, 2, 3, 4, 5, 6, 8, 12)
AVERAGED = (2, 3, 4, 5)
LIME = (64, 256)
MASKING, RANDOM, AVERAGE = "masking", "random", f"average of {AVERAGED[0]} to {AVERAGED[-1]}"
_BATCH = 16

Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A network and its heads, the cuts as numbers of blocks, LIME's numbers of masks, steps of insertion."""

    network: Transformer
    heads: Mapping[str, Head]
    cuts: Sequence[int] = CUTS
    masks: tuple[int, ...] = ()
    steps: int = 8

    def probabilities(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """`(n, groups)` for each head."""
        parts = [self.network.pooled(pictures[i : i + _BATCH]) for i in range(0, len(pictures), _BATCH)]
        found = {}
        for kind, head in self.heads.items():
            found[kind] = np.concatenate([head.probabilities(part[kind]) for part in parts])
        return found


def named_maps(study: Study, kind: str, picture: np.ndarray, group: int) -> dict[str, np.ndarray]:
    """Maps `(cells,)` of one head by their names in the tables."""
    head = study.heads[kind]
    held = held_maps(study.network, head, picture, group)
    found = {str(cut): held[cut] for cut in study.cuts if cut in held}
    if all(cut in held for cut in AVERAGED):
        found[AVERAGE] = average(held, AVERAGED)
    if VALUES in held:
        found[VALUES] = held[VALUES]
    found[MASKING] = masked_maps(study.network, head, picture, group, blocks=1 if kind == CLASS_TOKEN else 0)
    return found


def measure_photograph(study: Study, picture: np.ndarray, groups: Mapping[str, int], seed: int) -> list[Row]:
    """Insertion and deletion for each map of each head, for the group that the head gave."""
    segments = segment(picture, Segmenter())
    pooled = pooling_matrices(segments, study.network.grid)[1]
    rankings: dict[str, Ranking] = {RANDOM: (segments, np.random.default_rng(seed).random(segments.max() + 1))}
    sampled = Sampled(study, picture, segments, seed)
    for kind, group in groups.items():
        for name, cells in named_maps(study, kind, picture, group).items():
            rankings[f"{kind}: {name}"] = (segments, cells @ pooled)
        for name, scores in sampled.scores(kind, group).items():
            rankings[f"{kind}: {name}"] = (segments, scores)

    def score(pictures: np.ndarray) -> dict[str, np.ndarray]:
        found = study.probabilities(pictures)
        return {kind: found[kind][:, group] for kind, group in groups.items()}

    areas = Canvas(picture, None, score, study.steps).faithfulness(rankings)
    rows = []
    for ranking, found in areas.items():
        kind, _, name = ranking.rpartition(": ")
        for own in (kind,) if kind else tuple(groups):
            insertion, deletion = found["blurred"][own]
            rows.append({"head": own, "map": name, "insertion": insertion, "deletion": deletion})
    return rows


def measure_mosaic(study: Study, picture: np.ndarray, groups: Sequence[int], seed: int) -> list[Row]:
    """Share of what speaks for each group that lies in that group's quarter."""
    segments = segment(picture, Segmenter())
    sampled = Sampled(study, picture, segments, seed)
    cells_of, pixels_of = (_quarters(*size) for size in (study.network.grid, picture.shape[:2]))
    rows = []
    for kind in study.heads:
        for quarter, group in enumerate(groups):
            maps = named_maps(study, kind, picture, group)
            shares = {name: _share(cells, cells_of.ravel() == quarter) for name, cells in maps.items()}
            for name, scores in sampled.scores(kind, group).items():
                shares[name] = _share(scores[segments], pixels_of == quarter)
            rows += [{"head": kind, "map": name, "share": share} for name, share in shares.items()]
    return rows


def _quarters(height: int, width: int) -> np.ndarray:
    return 2 * (np.arange(height) >= height // 2)[:, None] + (np.arange(width) >= width // 2)


def _share(values: np.ndarray, inside: np.ndarray) -> float:
    positive = np.maximum(values, 0)
    return float(positive[inside].sum() / max(positive.sum(), 1e-12))


class Sampled:
    """LIME on one picture: all heads and groups read the same masked pictures."""

    def __init__(self, study: Study, picture: np.ndarray, segments: np.ndarray, seed: int) -> None:
        self._counts = study.masks
        if study.masks:
            self._area = np.bincount(segments.ravel())
            self._shown = lime.masks(max(study.masks), segments, seed)
            self._values = study.probabilities(lime.masked_pictures(picture, segments, self._shown))

    def scores(self, kind: str, group: int) -> dict[str, np.ndarray]:
        """Weight of each superpixel over its area, by the name of the map."""
        values = {count: self._values[kind][:count, group] for count in self._counts}
        return {
            f"LIME, {count} masks": lime.regress(self._shown[:count], own) / self._area for count, own in values.items()
        }
