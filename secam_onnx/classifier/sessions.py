"""From a model to its sessions: that of the network, and that of its contribution model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from onnx import ModelProto

from secam_onnx import runtime
from secam_onnx.classifier.attribution import Attribution, choose_attribution
from secam_onnx.classifier.head_search import told
from secam_onnx.classifier.metadata import LOGITS, PROBABILITIES, ModelMetadata
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.completeness import tolerance_of
from secam_onnx.graph.index import Graph
from secam_onnx.graph.weights import as_inputs, without_weights
from secam_onnx.head import Head, contribution_model, with_split_layer
from secam_onnx.photograph.model_input import image_input

__all__ = ["make_classifier", "open_attribution"]


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
