"""Open the sessions of an analysed model: its network, and its contribution model."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from secam_onnx import runtime
from secam_onnx.classifier.analysis import AnalysedModel
from secam_onnx.classifier.attribution import Attribution, choose_attribution
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.graph.nodes import Nodes
from secam_onnx.graph.opset import opset_of
from secam_onnx.graph.weights import as_inputs, without_weights
from secam_onnx.head import ContributionModel
from secam_onnx.reserved_prefix import RESERVED

if TYPE_CHECKING:
    import onnxruntime

_AXES_AS_INPUT = 13  # opset

__all__ = ["classifier_of", "open_attribution", "open_network", "open_sessions", "save", "separated"]


def open_sessions(
    name: str,
    analysed: AnalysedModel,
    providers: runtime.Providers = "auto",
    attribution: str | None = None,
    threads: int | None = None,
    *,
    split: bool = True,
) -> Classifier:
    """Open the sessions of an analysed model.

    Parameters
    ----------
    name : str
        File name, for display.
    analysed : AnalysedModel
        The model.
    providers
        See `runtime.resolve_providers`.
    attribution : str, optional
        See `choose_attribution`.
    threads : int, optional
        See `open_classifier`.
    split : bool
        Run a large layer on the flattened feature map cell by cell (see `head.layer_split`).
    """
    attribution = choose_attribution(analysed.head.algebra, attribution)
    made = runtime.SharedWeights()
    if split:
        analysed, made = analysed.with_split_layer()
    light, weights, fed = separated(analysed.model, analysed.folder, providers, made)

    contribution = None
    if attribution == "detached":  # which says what the network has to give
        contribution = analysed.contribution_model(attribution, weights)
        save(light, contribution.saved)
    # The contribution model is derived while the network's session packs its weights. The network is opened in this
    # thread, so that its errors come first.
    with ThreadPoolExecutor(max_workers=1) as pool:
        deriving = pool.submit(open_attribution, analysed, attribution, weights, providers, threads, contribution)
        network = open_network(light, weights, providers, threads)
        derived = deriving.result()
    return classifier_of(name, analysed, network, derived, fed)


def save(light: ModelProto, saved: Mapping[str, str]) -> None:
    """Let a network give the tensors that its contribution model takes, in place; see `ContributionModel.saved`."""
    given = {value.name for value in light.graph.output}
    n = Nodes(f"{RESERVED}save_{len(given)}_")
    for name, tensor in saved.items():
        if name in given:
            continue
        if name != tensor:
            if opset_of(light) >= _AXES_AS_INPUT:
                node = helper.make_node("Unsqueeze", [tensor, n.op("Constant", [], value_ints=[0])], [name])
            else:
                node = helper.make_node("Unsqueeze", [tensor], [name], axes=[0])
            n.nodes.append(node)
        light.graph.output.append(ValueInfoProto(name=name))
    light.graph.node.extend(n.nodes)


def separated(
    model: ModelProto, folder: Path, providers: runtime.Providers, made: runtime.SharedWeights | None = None
) -> tuple[ModelProto, runtime.SharedWeights, dict[str, np.ndarray]]:
    """Separate a model from its weights.

    Parameters
    ----------
    model : ModelProto
        The model; it stays as it is.
    folder : Path
        Where its external data lies.
    providers
        See `runtime.resolve_providers`.
    made : SharedWeights, optional
        The values of initializers that the model only declares.

    Returns
    -------
    light : ModelProto
        The model, for `open_network`.
    weights : SharedWeights
        Its weights.
    fed : dict of str to ndarray
        The weights that each run takes as inputs; none except on the CPU.
    """
    made = made or runtime.SharedWeights()
    light, weights = without_weights(model, folder, made)
    on_cpu = runtime.resolve_providers(providers)[0] == [runtime.CPU]
    return light, weights, as_inputs(light, weights, made.copied) if on_cpu else {}


def open_network(
    light: ModelProto, weights: runtime.SharedWeights, providers: runtime.Providers, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Open the session of a network that was separated from its weights."""
    return runtime.open_session(light.SerializeToString(), providers, weights=weights, prepack=True, threads=threads)


def open_attribution(
    analysed: AnalysedModel,
    attribution: str,
    known: runtime.SharedWeights,
    providers: runtime.Providers,
    threads: int | None,
    contribution: ContributionModel | None = None,
) -> Attribution:
    """Derive the contribution model of a head, unless it is given, and open it.

    `known` holds weights that were read already.
    """
    contribution = contribution or analysed.contribution_model(attribution, known)
    # The gradient needs the floats between two roundings; ONNX Runtime 1.32's integer kernels skip them, and are wrong
    # for int8.
    session = runtime.open_session(
        contribution.model.SerializeToString(),
        providers,
        weights=contribution.weights,
        integer_kernels=attribution == "masking",
        threads=threads,
    )
    head = analysed.head
    shape = analysed.graph.shape(head.features) or (None,) * 4
    batch = 1 if head.of_one_image(analysed.graph) else shape[head.grid.batch_axis]
    return Attribution(session, attribution, batch, contribution.at_once, tuple(contribution.saved))


def classifier_of(
    name: str,
    analysed: AnalysedModel,
    network: onnxruntime.InferenceSession,
    attribution: Attribution,
    fed: Mapping[str, np.ndarray],
) -> Classifier:
    """Put the open sessions of an analysed model together; the classifier keeps neither its graph nor its weights."""
    n_classes, tolerance = analysed.head.n_classes, analysed.tolerance
    return Classifier(name, analysed.metadata, analysed.input, n_classes, network, attribution, tolerance, fed)
