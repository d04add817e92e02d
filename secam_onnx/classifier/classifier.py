"""A classifier that is ready to be explained: the session of the network and the session of its contribution model."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto

from secam_onnx import runtime
from secam_onnx.classifier.analysis import check_labels, check_metadata, locate_head, make_explainable, told
from secam_onnx.classifier.attribution import Attribution, choose_attribution
from secam_onnx.classifier.fidelity import (
    ON_A_CARD,
    REPORT,
    Fidelity,
    Untouched,
    Verify,
    compare_outputs,
    is_compared,
    outputs_of,
    rounding_tolerance,
    trial_images,
    untouched,
)
from secam_onnx.classifier.metadata import LOGITS, PROBABILITIES, ModelMetadata
from secam_onnx.classifier.open_model import ModelOutput, check_logits, filled_up, ms_since, probabilities
from secam_onnx.classifier.output_activation import check_activation, choose_activation
from secam_onnx.completeness import TOLERANCE, tolerance_of
from secam_onnx.errors import ForkError, ModelError, OptionError
from secam_onnx.files import printable, unchanged
from secam_onnx.graph.checks.external_data import data_files
from secam_onnx.graph.checks.structure import damage_explained
from secam_onnx.graph.index import Graph
from secam_onnx.graph.onnx_file import read_model
from secam_onnx.graph.weights import as_inputs, without_weights
from secam_onnx.head import BINARY, OWN_LAYOUT, End, Head, contribution_model, features_name, with_split_layer
from secam_onnx.labels import ClassQuery, resolve_classes
from secam_onnx.photograph.model_input import ImageInput, image_input
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_choice import choose_preprocessing
from secam_onnx.photograph.preprocessing_settings import OF_IMAGES, PreprocessingSettings
from secam_onnx.photograph.sidecars import default_model, model_file

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "Classifier",
    "check_probabilities",
    "make_classifier",
    "open_attribution",
    "open_classifier",
    "said_by_the_file",
]


class Classifier:
    """Runs a network and its contribution model.

    Attributes
    ----------
    name : str
        File name, for people.
    metadata : ModelMetadata
        What is known about the model.
    input : ImageInput
        The model's input.
    n_classes : int
        Number of classes.
    contribute : Attribution
        From features and class ids to maps and bias.
    tolerance : float
        Completeness error that the network's own precision explains.
    fed : dict of str to ndarray
        Weights that the network takes as inputs, besides the image.
    fidelity : Fidelity or None
        How the network compares with the untouched file, where it was compared.
    files : tuple of Path
        What it was read from; none for a model that was made in memory.
    """

    fidelity: Fidelity | None = None
    files: tuple[Path, ...] = ()

    def __init__(
        self,
        name: str,
        metadata: ModelMetadata,
        input_: ImageInput,
        n_classes: int,
        network: onnxruntime.InferenceSession,
        contribute: Attribution,
        tolerance: float = TOLERANCE,
        fed: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.name = name
        self.metadata = metadata
        self.input = input_
        self.n_classes = n_classes
        self._network = network
        self._dtype = runtime.input_dtype(network)
        self.contribute = contribute
        self.tolerance = tolerance
        self.fed = dict(fed or {})

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that the network really runs on, in order."""
        return tuple(self._network.get_providers())

    @property
    def batch(self) -> int | None:
        """How many pictures one forward pass takes; None for any number."""
        return self.input.batch

    @property
    def attribution(self) -> str:
        """How maps are made."""
        return self.contribute.attribution

    @property
    def segmenter(self) -> None:
        """Superpixels are made by others, at the same time."""
        return

    def feed(self, seen: np.ndarray) -> np.ndarray:
        """The input tensor for one picture `(h, w, 3)` uint8 or `(h, w, C)`, with a batch axis, float32."""
        return self.metadata.preprocessing.normalise(seen)

    def run(
        self, inputs: np.ndarray, queries: Sequence[Sequence[ClassQuery]], *, pool: bool = False
    ) -> list[ModelOutput]:
        """Explain some classes of each picture; see `OpenModel`."""
        start = time.perf_counter()
        features, logits, shares = self.forward(inputs)
        forward_ms = ms_since(start) / len(inputs)

        start = time.perf_counter()
        chosen = [resolve_classes(*asked, self.metadata.labels) for asked in zip(queries, logits, strict=True)]
        # Where fewer are asked for, or top-K and a name mean the same class, the last one is repeated.
        longest = max(map(len, chosen))
        class_ids = np.array([ids + ids[-1:] * (longest - len(ids)) for ids in chosen], dtype=np.int64)
        maps, bias = self.contribute(features, class_ids)
        timings = {"forward": forward_ms, "contribution": ms_since(start) / len(inputs)}
        return [
            ModelOutput(
                logits[row], shares[row], ids, maps[row, : len(ids)].copy(), bias[row, : len(ids)].copy(), timings
            )
            for row, ids in enumerate(chosen)
        ]

    def compare(self, file: Untouched, advice: str = REPORT) -> None:
        """Compare the network with the file that it is made of; sets `fidelity`.

        `advice` says what to do where they differ.

        Raises
        ------
        FidelityError
            It gives other outputs; the message names one, and both numbers.
        """
        feeds = {image: {**feed, **self.fed} for image, feed in file.feeds.items()}
        names = list(next(iter(file.outputs.values())))
        tolerance = file.tolerance if self.providers[0] == runtime.CPU else max(file.tolerance, ON_A_CARD)
        found = outputs_of(self._network, feeds, names)
        self.fidelity = compare_outputs(file.outputs, found, tolerance, advice=advice)

    def forward(self, inputs: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
        """One forward pass, or several if the model's batch axis is fixed.

        Parameters
        ----------
        inputs : ndarray
            `(N, ...)` float32, preprocessed.

        Returns
        -------
        features : tuple of ndarray
            What `contribute` takes: `(N, C, h, w)` float32, the feature map, or the terms of a layer that was split
            (see `head.split`); `(N, tokens, C)` where some tokens have no position. One, or one of each branch.
        logits : ndarray
            `(N, classes)` float32.
        probabilities : ndarray
            `(N, classes)` float32 in [0, 1]: the model's own where it gives any; NaN where there is none.

        Raises
        ------
        ModelError
            The model fails on this input or gives NaN.
        """
        size = self.input.batch or len(inputs)
        if self.input.whole_numbers:  # of several channels or more than 8 bits, they are not rounded yet
            inputs = np.clip(np.rint(inputs), 0, 255)
        inputs = inputs.astype(self._dtype, copy=False)
        padded = filled_up(inputs, size)
        head, own = self.metadata.head, self.metadata.probabilities
        maps = [features_name(index) for index in range(len(head.all_features))]
        if head.special:
            maps[0] += OWN_LAYOUT
        names = [*maps, self.metadata.logits, *([] if own is None else [own])]
        runs = (self.input.fed(padded[start : start + size]) for start in range(0, len(padded), size))
        try:
            parts = [runtime.run(self._network, names, {self.input.name: given, **self.fed}) for given in runs]
        except ForkError:
            raise
        except Exception as error:
            raise ModelError(
                f"The model fails on an input of shape {inputs.shape}: {error}. Does the preprocessing fit it?"
            ) from error
        for values in (values for part in parts for values in part[len(maps) :]):
            if values.shape[:1] != (size,):
                raise ModelError(
                    f"The model was fed {size} image{'s' * (size > 1)}, but {self.metadata.output!r} was made of "
                    f"values of shape {values.shape}; a row for each image was expected, (N, classes). Explain one "
                    "image at a time, if the model is made for one."
                )
        found = [
            (part[0] if len(part) == 1 else np.concatenate(part))[: len(inputs)] for part in zip(*parts, strict=True)
        ]
        features, (logits, *shares) = tuple(found[: len(maps)]), found[len(maps) :]
        if logits.shape[1:] != (self.n_classes,):
            raise ModelError(
                f"The model declares {self.n_classes} classes, but its logits have shape {logits.shape}; its file "
                "contradicts itself. Export it again."
            )
        check_logits(logits)
        return features, logits, shares[0] if shares else probabilities(logits, self.metadata.probability)


def open_classifier(
    path: str | os.PathLike[str],
    *,
    providers: runtime.Providers = "auto",
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    labels: tuple[str, ...] | None = None,
    output: str | None = None,
    features: str | None = None,
    tokens: tuple[int, int] | None = None,
    activation: str | None = None,
    attribution: str | None = None,
    threads: int | None = None,
    verify: Verify = "auto",
) -> Classifier:
    """Open an explainable model, or an ordinary ONNX classifier, which is then made explainable in memory.

    Parameters
    ----------
    path : path
        The ONNX file, or its folder.
    providers : str or sequence of str
        See `runtime.resolve_providers`.
    preprocessing, labels : optional
        For a file that does not say: an ordinary model, or one that was exported without. For an ordinary model they
        win over what the file and those beside it say.
    output, features : str, optional
        For an ordinary model: which output to explain, and a feature map further up, by name.
    tokens : (int, int), optional
        For an ordinary model: rows and columns of a feature map `(N, tokens, C)`; a square by default.
    activation : str, optional
        For raw outputs: what makes probabilities of them (see `choose_activation`).
    attribution : str, optional
        See `choose_attribution`.
    threads : int, optional
        Of the processor, for one forward pass; all cores by default.
    verify : bool or 'auto'
        Whether all outputs are compared with those of the untouched file in plain ONNX Runtime: on three images, on
        none, or, by default, on one, unless the weights are more than 1 GiB. Explainable models were compared when
        they were exported, so that the default compares none.

    Raises
    ------
    ModelError
        The file cannot be read, is no classifier that can be explained, or gives other outputs than the file.
    OptionError
        An option that contradicts the file.
    ProviderError
        A provider asked for by name cannot start.
    """
    runtime.load()  # complain about a missing wheel before the slow part
    file = model_file(path)
    with unchanged(file):
        model = read_model(file)
        metadata = ModelMetadata.of(model)
        with damage_explained(model):
            ordinary = metadata is None
            if metadata is None:
                graph, head, metadata = make_explainable(
                    model, preprocessing, labels=labels, file=file, output=output, features=features, tokens=tokens,
                    activation=activation,
                )  # fmt: skip
            else:
                graph = Graph(model, file.parent)
                check_metadata(metadata, graph)
                fixed = {"output": output, "features": features, "grid": tokens}
                metadata = _filled_in(file, metadata, graph, preprocessing, labels, fixed, activation)
                head = _found_again(model, graph, metadata, file.parent)
            # First, so that never two sessions of the whole network are in memory.
            said = said_by_the_file(file, model, graph, metadata, verify, threads, ordinary=ordinary)
            name = printable(file.name)
            data = data_files(model, file)
            opened = make_classifier(name, model, graph, head, metadata, file.parent, providers, attribution, threads)
            opened.files = (file, *data)
            if said is not None:
                opened.compare(said)
            if ordinary:
                check_probabilities(opened, head.end, activation)
            return opened


def said_by_the_file(
    file: Path,
    model: ModelProto,
    graph: Graph,
    metadata: ModelMetadata,
    verify: Verify,
    threads: int | None,
    *,
    ordinary: bool = True,
) -> Untouched | None:
    """What the untouched file gives, if `verify` asks for that; see `open_classifier`."""
    if not is_compared(verify, model, ordinary=ordinary):
        return None
    images = trial_images(metadata.preprocessing, photograph_only=verify == "auto")
    input_ = image_input(graph, *told(metadata.preprocessing))
    as_it_is = runtime.open_as_it_is(file, threads)
    return untouched(as_it_is, input_, metadata.preprocessing, images, rounding_tolerance(model))


def check_probabilities(classifier: Classifier, end: End, activation: str | None = None) -> None:
    """Settle where a classifier's probabilities come from, in place.

    Parameters
    ----------
    classifier : Classifier
        A classifier of an ordinary model.
    end : End
        What its graph says.
    activation : str, optional
        What the user says.

    Raises
    ------
    ModelError
        See `check_activation`.
    """
    preprocessing = classifier.metadata.preprocessing
    pictures = trial_images(preprocessing).values()
    inputs = (classifier.feed(preprocessing.crop(image)[0]) for image in pictures)

    def forward(given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, logits, shares = classifier.forward(given)
        return logits, shares

    classifier.metadata = check_activation(classifier.metadata, end, forward, inputs, activation)


def _found_again(model: ModelProto, graph: Graph, metadata: ModelMetadata, folder: Path) -> Head:
    """The head that an explainable model says that it has."""
    known = metadata.head
    if known.own_shape is not None:
        graph.learn({known.features: known.own_shape})
    features, tokens = known.all_features, known.tokens
    head = locate_head(
        model, graph, metadata.preprocessing, folder, output=metadata.output, features=features, tokens=tokens
    )
    return replace(head, end=head.end.as_pair()) if (head.n_classes, known.pick) == (1, BINARY) else head


def _filled_in(
    file: Path,
    metadata: ModelMetadata,
    graph: Graph,
    preprocessing: Preprocessing | PreprocessingSettings | str | None,
    labels: tuple[str, ...] | None,
    fixed: Mapping[str, object],
    activation: str | None,
) -> ModelMetadata:
    """What an explainable model leaves open may be given by option; what it says itself may not."""
    clashing = [name for name, value in fixed.items() if value is not None]
    if isinstance(preprocessing, PreprocessingSettings) and {*OF_IMAGES}.issuperset(preprocessing.given):
        metadata = replace(metadata, preprocessing=metadata.preprocessing.of_images(preprocessing))
    elif preprocessing is not None:
        if metadata.origin.get("preprocessing", "").startswith("assumed"):
            if isinstance(preprocessing, PreprocessingSettings):
                preprocessing = preprocessing.over(metadata.preprocessing.settings(metadata.origin["preprocessing"]))
            chosen, notes = choose_preprocessing(graph, image_input(graph, *told(preprocessing)), preprocessing)
            known = {name: text for name, text in metadata.origin.items() if name != "preprocessing_warning"}
            metadata = replace(metadata, preprocessing=chosen, origin={**known, **notes})
        else:
            clashing.append("preprocessing")
    if activation not in (None, "auto"):
        own = metadata.activation != "none" or metadata.probabilities is not None
        if not own and metadata.origin.get("probability") != "as given":
            n_logits = (graph.shape(metadata.logits) or (None, None))[1] or 0
            how, note = choose_activation(End(metadata.logits, n_logits), activation)
            metadata = replace(metadata, probability=how, origin={**metadata.origin, "probability": note})
        else:
            clashing.append("activation")
    if labels is not None:
        if metadata.labels is None:
            check_labels(labels, graph.shape(metadata.logits))
            metadata = replace(metadata, labels=labels, origin={**metadata.origin, "labels": "as given"})
        else:
            clashing.append("labels")
    if clashing:
        fixes = f"fixes its own {' and '.join(clashing)}"
        if file == default_model():
            raise OptionError(f"The default model {fixes}; name the model that is meant (--model FILE).")
        raise OptionError(
            f"{file} is an explainable model, which {fixes}; to change that, export it again with `secam-onnx export`."
        )
    return metadata


def make_classifier(
    name: str,
    model: ModelProto,
    graph: Graph,
    head: Head,
    metadata: ModelMetadata,
    folder: Path = Path(),
    providers: runtime.Providers = "auto",
    attribution: str | None = None,
    threads: int | None = None,
    *,
    split: bool = True,
) -> Classifier:
    """Open the sessions of a model that has the added outputs.

    Parameters
    ----------
    name : str
        For people.
    model : ModelProto
        The model.
    graph, head, metadata
        What was found in it.
    folder : Path
        Where its external data lies.
    providers
        See `runtime.resolve_providers`.
    attribution : str, optional
        See `choose_attribution`.
    threads : int, optional
        See `open_classifier`.
    split : bool
        Run a large layer on the flattened feature map cell by cell (see `head.split`).
    """
    attribution = choose_attribution(head.algebra, attribution)
    made = runtime.Weights()
    if split:
        model, graph, head, made = with_split_layer(
            model, graph, head, folder, logits=LOGITS, probabilities=PROBABILITIES
        )
    light, known = without_weights(model, folder, made)
    on_cpu = runtime.resolve_providers(providers)[0] == [runtime.CPU]
    fed = as_inputs(light, known, made.copied) if on_cpu else {}

    # The network's session packs its weights while the contribution model is derived from them. What is wrong with
    # the network is said of it, not of what was derived from it.
    with ThreadPoolExecutor(max_workers=1) as pool:
        deriving = pool.submit(open_attribution, graph, head, attribution, folder, known, providers, threads)
        session = runtime.open_session(
            light.SerializeToString(), providers, weights=known, prepack=True, threads=threads
        )
        derived = deriving.result()
    return Classifier(
        name,
        metadata,
        image_input(graph, *told(metadata.preprocessing)),
        head.n_classes,
        session,
        derived,
        tolerance_of(head.epsilon(graph)),
        fed,
    )


def open_attribution(
    graph: Graph,
    head: Head,
    attribution: str,
    folder: Path,
    known: runtime.Weights,
    providers: runtime.Providers,
    threads: int | None,
) -> Attribution:
    """Derive the contribution model of a head and open it; `known` are weights that were read before."""
    contribution = contribution_model(graph, head, folder, masking=attribution == "masking", known=known)
    # The gradient needs the numbers between two roundings as floats; ONNX Runtime 1.32's attempt to save some of
    # them goes wrong for int8.
    session = runtime.open_session(
        contribution.model.SerializeToString(),
        providers,
        weights=contribution.weights,
        integer_kernels=attribution == "masking",
        threads=threads,
    )
    return Attribution(session, attribution, (graph.shape(head.features) or (None,) * 4)[head.grid.batch_axis])
