"""Open all heads of a model: a classifier for each, with one session of the network for all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto

from secam_onnx import runtime
from secam_onnx.classifier.analysis import AnalysedModel, analyse
from secam_onnx.classifier.attribution import choose_attribution
from secam_onnx.classifier.fidelity import Verify
from secam_onnx.classifier.head_search import locate_heads
from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.classifier.sessions import classifier_of, open_attribution, open_network, save, separated
from secam_onnx.classifier.trials import check_probabilities, reference_of
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.errors import OptionError
from secam_onnx.files import printable, unchanged
from secam_onnx.graph.checks.external_data import data_files
from secam_onnx.graph.checks.structure import damage_explained
from secam_onnx.graph.index import Graph
from secam_onnx.graph.locate import model_file
from secam_onnx.graph.onnx_file import read_model
from secam_onnx.graph.splice import made_by, renamed
from secam_onnx.head_query import HeadQuery
from secam_onnx.photograph.choose_preprocessing import choose_preprocessing, input_for
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.reserved_prefix import RESERVED

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["open_heads"]


def open_heads(
    path: str | os.PathLike[str],
    *,
    providers: runtime.Providers = "auto",
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    threads: int | None = None,
    verify: Verify = "auto",
) -> dict[str, Classifier]:
    """Open a classifier for each head of an ordinary model; parameters as in `open_classifier`.

    Returns
    -------
    dict of str to Classifier
        By the explained output.

    Raises
    ------
    ModelError
        As `open_classifier` does.
    OptionError
        The file was exported for a single head.
    """
    runtime.load()
    file = model_file(path)
    with unchanged(file):
        model = read_model(file)
        if ModelMetadata.of(model) is not None:
            raise OptionError(f"{file} was exported for one head; open the original model to explain all of them.")
        with damage_explained(model):
            heads = _analysed(model, file, preprocessing)
            merged = _copy(model)
            exposed = [_merge(head.model, merged, place) for place, head in enumerate(heads)]
            reference = reference_of(file, heads[0], verify, threads)
            ways = [choose_attribution(head.head.algebra) for head in heads]
            contributions = [
                head.contribution_model(how, runtime.SharedWeights()) if how == "detached" else None
                for head, how in zip(heads, ways, strict=True)
            ]
            for contribution, names in zip(contributions, exposed, strict=True):
                if contribution is not None:
                    save(merged, contribution.saved)
                    names |= {name: name for name in contribution.saved}
            light, weights, fed = separated(merged, file.parent, providers)
            session = open_network(light, weights, providers, threads)
            network = _Network(session, heads[0].input.name, [*_all_values(exposed), *_own_outputs(heads)])
            opened = {}
            for head, names, how, contribution in zip(heads, exposed, ways, contributions, strict=True):
                attribution = open_attribution(head, how, weights, providers, threads, contribution)
                classifier = classifier_of(printable(file.name), head, _View(network, names), attribution, fed)
                classifier.files = (file, *data_files(model, file))
                if reference is not None:
                    classifier.compare(reference)
                check_probabilities(classifier, head.head.class_output)
                opened[head.metadata.explained_output] = classifier
            return opened


def _analysed(
    model: ModelProto, file: Path, preprocessing: Preprocessing | PreprocessingSettings | str | None
) -> list[AnalysedModel]:
    """Analyse a copy of the model for each of its heads."""
    graph = Graph(model, file.parent)
    fitted, _ = choose_preprocessing(graph, input_for(graph, preprocessing), preprocessing, file)
    heads = locate_heads(graph, fitted)
    return [analyse(_copy(model), preprocessing, file=file, query=HeadQuery(head.output)) for head in heads]


def _all_values(names: Iterable[Mapping[str, str]]) -> list[str]:
    return [name for entry in names for name in entry.values()]


def _own_outputs(heads: Iterable[AnalysedModel]) -> list[str]:
    """Those of the model's own outputs that the classifiers read."""
    read = (name for head in heads for name in (head.metadata.logits, head.metadata.probabilities))
    return [name for name in read if name is not None and not name.startswith(RESERVED)]


class _Network:
    """One session for several heads; keeps the results of its last run."""

    def __init__(self, session: onnxruntime.InferenceSession, image: str, names: Iterable[str]) -> None:
        self.session = session
        self._image, self._names = image, list(dict.fromkeys(names))
        self._lock = threading.Lock()
        self._last: tuple[np.ndarray, dict[str, np.ndarray]] | None = None

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray], options: Any) -> list[np.ndarray]:
        if not set(self._names).issuperset(names):
            return self.session.run(names, feeds, options)
        given = feeds[self._image]
        with self._lock:
            if self._last is None or not np.array_equal(given, self._last[0]):
                values = self.session.run(self._names, feeds, options)
                self._last = given.copy(), dict(zip(self._names, values, strict=True))
            found = self._last[1]
        return [found[name] for name in names]


class _View:
    """A network as one head sees it: outputs have the names of that head's metadata."""

    def __init__(self, network: _Network, names: Mapping[str, str]) -> None:
        self._network, self._names = network, names

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray], options: Any = None) -> list[np.ndarray]:
        return self._network.run([self._names.get(name, name) for name in names], feeds, options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network.session, name)


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _merge(own: ModelProto, merged: ModelProto, place: int) -> dict[str, str]:
    """Copy the nodes that expose one head into the model of all heads, under new names.

    Returns
    -------
    dict
        The new names of the head's outputs.
    """
    nodes = [node for node in own.graph.node if node.name.startswith(RESERVED)]
    names = {name: f"{RESERVED}{place}_{name.removeprefix(RESERVED)}" for name in made_by(nodes)}
    copies = renamed(nodes, names)
    for node in copies:
        node.name = f"{RESERVED}{place}_{node.name.removeprefix(RESERVED)}"
    merged.graph.node.extend(copies)
    outputs = [value for value in own.graph.output if value.name.startswith(RESERVED)]
    for value in outputs:
        merged.graph.output.add().CopyFrom(value)
        merged.graph.output[-1].name = names[value.name]
    return {value.name: names[value.name] for value in outputs}
