"""Fused models, the pictures that all engines get, and what is expected of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from cases import TOP, Case, engine_or_skip
from engines import Result
from networks import NETWORKS

from secam_onnx import Explainer
from secam_onnx.export import export_model, open_source


@pytest.fixture(scope="session")
def views(chelsea: np.ndarray) -> list[np.ndarray]:
    """Three pictures: the photograph, upside down, and a part of it, turned round."""
    return [chelsea, chelsea[::-1], chelsea[40:240, 100:380][:, ::-1]]


@pytest.fixture(scope="session")
def case_of(views: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Cases by the name of the network, each made once."""

    @cache
    def make(name: str) -> Case:
        network, folder = NETWORKS[name], tmp_path_factory.mktemp("fused")
        plain, model = network.write(folder), folder / "fused.onnx"
        metadata = export_model(open_source(plain), model, fusion=network.fusion)
        assert (metadata.head.kind, metadata.head.algebra) == (network.head, network.algebra)
        explainer = Explainer(plain, providers="cpu")
        pictures = np.stack([explainer.preprocessing.crop(view)[0] for view in views])
        explanations = [explainer.explain(view, f"top-{TOP}") for view in views]
        return Case(model, network.fusion, pictures, explanations, network.batch)

    return make


@pytest.fixture(scope="session")
def results_of(case_of: Callable[[str], Case]) -> Callable[[str, str], list[Result]]:
    """What an engine, by its name, answers to the feeds of a case."""

    @cache
    def run(engine: str, name: str) -> list[Result]:
        case = case_of(name)
        return engine_or_skip(engine).run(case.model, case.feeds)

    return run
