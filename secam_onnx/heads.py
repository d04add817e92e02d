"""All heads of a model, as of age and gender: explained together, in one forward pass of their network."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from onnx import ModelProto

from secam_onnx import runtime
from secam_onnx.classifier.analysis import make_explainable
from secam_onnx.classifier.attribution import choose_attribution
from secam_onnx.classifier.fidelity import Verify
from secam_onnx.classifier.head_search import locate_heads, told
from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.classifier.open_model import ModelOutput
from secam_onnx.classifier.sessions import open_attribution
from secam_onnx.classifier.trials import check_probabilities, said_by_the_file
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.completeness import tolerance_of
from secam_onnx.errors import ClassError, ModelError, OptionError, SecamError
from secam_onnx.explainer import BATCH_SIZE, Explainer
from secam_onnx.explanation import Explanation
from secam_onnx.files import printable, unchanged
from secam_onnx.graph.checks.external_data import data_files
from secam_onnx.graph.checks.structure import damage_explained
from secam_onnx.graph.index import Graph
from secam_onnx.graph.onnx_file import read_model
from secam_onnx.graph.splice import made_by, renamed
from secam_onnx.graph.weights import as_inputs, without_weights
from secam_onnx.head import Head
from secam_onnx.labels import ClassQuery, as_queries
from secam_onnx.names import RESERVED
from secam_onnx.photograph.images import Photograph
from secam_onnx.photograph.model_input import image_input
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_choice import choose_preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.photograph.sidecars import model_file
from secam_onnx.pipeline.prepare import PreparedImage
from secam_onnx.pipeline.stream import stream
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.selection import Selection
from secam_onnx.threads import cores

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Heads"]


class Heads:
    """Explains all heads of an ordinary ONNX model.

    Parameters
    ----------
    model : path
        The model, or its folder; a file that was exported for one head is none.
    providers, segmenter, selection, preprocessing, threads, verify : optional
        As in `Explainer`.

    Attributes
    ----------
    explainers : dict of str to Explainer
        By the output that each explains. They share one session of the network, whose last run is kept: explaining the
        same photograph by each of them is one forward pass.

    Raises
    ------
    ModelError
        As `Explainer` does.
    OptionError
        The model was exported for one head.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        providers: runtime.Providers | None = None,
        segmenter: Segmenter | None = None,
        selection: Selection | None = None,
        preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
        threads: int | None = None,
        verify: Verify = "auto",
    ) -> None:
        options: dict[str, Any] = {
            "providers": "auto" if providers is None else providers,
            "preprocessing": preprocessing,
            "threads": threads,
            "verify": verify,
        }
        self.explainers = {
            name: Explainer.of_opened(model, {**options, "output": name}, opened, segmenter, selection)
            for name, opened in _open(model, **options).items()
        }

    def check_classes(self, classes: ClassQuery | Iterable[ClassQuery]) -> None:
        """Complain about classes that one of the heads does not have; see `Explainer.check_classes`."""
        queries = as_queries(classes)
        for name, explainer in self.explainers.items():
            try:
                explainer.check_classes(queries)
            except ClassError as error:
                raise ClassError(f"The head {name!r}: {error}") from error

    def explain(
        self,
        image: Photograph,
        classes: ClassQuery | Iterable[ClassQuery] = "top-1",
        *,
        segments: np.ndarray | None = None,
    ) -> dict[str, Explanation]:
        """Explain one photograph by each head, with the same superpixels; parameters as in `Explainer.explain`.

        Returns
        -------
        dict of str to Explanation
            By the output that is explained.

        Raises
        ------
        ImageError, ClassError, OptionError
            As `Explainer.explain` does.
        """
        (result,) = self.explain_stream([image], classes, segments=[segments], batch_size=1)
        if isinstance(result, SecamError):
            raise result
        return result

    def explain_stream(
        self,
        images: Iterable[Photograph],
        classes: ClassQuery | Iterable[ClassQuery] = "top-1",
        *,
        segments: Iterable[np.ndarray | None] | None = None,
        batch_size: int = BATCH_SIZE,
        workers: int | None = None,
        keep_images: bool = True,
    ) -> Generator[dict[str, Explanation] | SecamError, None, None]:
        """Explain any number of photographs by each head; see `Explainer.explain_stream`."""
        queries = as_queries(classes)
        self.check_classes(queries)
        pipelines = {name: explainer.pipeline for name, explainer in self.explainers.items()}
        first = next(iter(pipelines.values()))

        def run(jobs: Sequence[PreparedImage]) -> list[tuple[ModelOutput, ...] | ModelError]:
            found = zip(
                *(pipeline.run_each(jobs, [queries] * len(jobs)) for pipeline in pipelines.values()), strict=True
            )
            return [_together(outputs) for outputs in found]

        def finish(job: PreparedImage, outputs: tuple[ModelOutput, ...]) -> dict[str, Explanation]:
            pairs = zip(pipelines.items(), outputs, strict=True)
            return {name: pipeline.finish(job, output) for (name, pipeline), output in pairs}

        return stream(
            zip(images, itertools.repeat(None) if segments is None else segments, strict=False),
            prepare=lambda item, executor: first.prepare(
                *item, segmenter=first.segmenter, executor=executor, keep_image=keep_images
            ),
            run=run,
            finish=finish,
            batch_size=batch_size,
            workers=cores() if workers is None else workers,
        )

    def close(self) -> None:
        """Close the explainers; see `Explainer.close`."""
        for explainer in self.explainers.values():
            explainer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _together(outputs: tuple[ModelOutput | ModelError, ...]) -> tuple[ModelOutput, ...] | ModelError:
    """What all heads gave for one photograph, or the first failure."""
    good = tuple(output for output in outputs if isinstance(output, ModelOutput))
    return good if len(good) == len(outputs) else next(error for error in outputs if isinstance(error, ModelError))


class _Network:
    """One session for several heads; its last run is kept."""

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
    """A network as the session of one head, whose outputs have the names in its metadata."""

    def __init__(self, network: _Network, names: Mapping[str, str]) -> None:
        self._network, self._names = network, names

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray], options: Any = None) -> list[np.ndarray]:
        return self._network.run([self._names.get(name, name) for name in names], feeds, options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network.session, name)


def _open(
    path: str | os.PathLike[str],
    *,
    providers: runtime.Providers,
    preprocessing: Preprocessing | PreprocessingSettings | str | None,
    threads: int | None,
    verify: Verify,
) -> dict[str, Classifier]:
    """A classifier for each head, by its output; all run one session."""
    runtime.load()
    file = model_file(path)
    with unchanged(file):
        model = read_model(file)
        if ModelMetadata.of(model) is not None:
            raise OptionError(f"{file} was exported for one head; all are explained of the original model.")
        with damage_explained(model):
            index = Graph(model, file.parent)
            input_ = image_input(index, *told(preprocessing))
            fitted, _ = choose_preprocessing(index, input_, preprocessing, file)
            merged = _copy(model)
            parts: list[tuple[Graph, Head, ModelMetadata, dict[str, str]]] = []
            for place, head in enumerate(locate_heads(model, index, fitted, file.parent)):
                own = _copy(model)
                parts.append((*make_explainable(own, preprocessing, file=file, output=head.output),
                              _merge(own, merged, place)))  # fmt: skip
            said = said_by_the_file(file, model, parts[0][0], parts[0][2], verify, threads)
            light, known = without_weights(merged, file.parent)
            on_cpu = runtime.resolve_providers(providers)[0] == [runtime.CPU]
            fed = as_inputs(light, known, {}) if on_cpu else {}
            session = runtime.open_session(
                light.SerializeToString(), providers, weights=known, prepack=True, threads=threads
            )
            exposed = (name for *_, names in parts for name in names.values())
            given = (name for _, _, metadata, _ in parts for name in (metadata.logits, metadata.probabilities))
            own_ones = (name for name in given if name is not None and not name.startswith(RESERVED))
            network = _Network(session, input_.name, [*exposed, *own_ones])
            opened = {}
            for graph, head, metadata, names in parts:
                way = choose_attribution(head.algebra)
                classifier = Classifier(
                    printable(file.name), metadata, image_input(graph, *told(metadata.preprocessing)), head.n_classes,
                    _View(network, names),
                    open_attribution(graph, head, way, file.parent, known, providers, threads),
                    tolerance_of(head.epsilon(graph)), fed,
                )  # fmt: skip
                classifier.files = (file, *data_files(model, file))
                if said is not None:
                    classifier.compare(said)
                check_probabilities(classifier, head.end)
                opened[metadata.output] = classifier
            return opened


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _merge(own: ModelProto, merged: ModelProto, place: int) -> dict[str, str]:
    """Put what one head exposes into a model of all, under names of its own.

    Returns
    -------
    dict
        The new names of its outputs.
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
