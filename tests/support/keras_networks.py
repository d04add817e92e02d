"""Networks of Keras with random weights whose answers differ."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["enliven"]


def enliven(network: Any, inputs: np.ndarray) -> None:
    """Give a fresh network statistics and biases: as it is made, most answer 0.001 for every class."""
    import keras  # its backend is for the caller to choose

    rng = np.random.default_rng(4)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.05, layer.bias.shape))
    network(np.concatenate([inputs, inputs[:, ::-1], inputs[:, :, ::-1], rng.permuted(inputs, axis=1)]), training=True)
