"""Sub-graphs as sessions, and how long these take when they take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import helper

from secam_onnx import runtime
from secam_onnx.graph.nodes import Nodes

__all__ = ["Times", "evaluate", "open_model", "open_nodes", "take_turns"]

Times = dict[str, dict[str, list[float]]]
"""By name: `cpu` and `wall`, milliseconds of every run."""


def open_model(model: bytes, threads: int) -> Any:
    """A session on the CPU that sleeps, not spins, while it waits."""
    ort = runtime.load()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=[runtime.CPU])


def open_nodes(form: Callable[[Nodes], str], feeds: Mapping[str, np.ndarray]) -> Any:
    """A session of one thread around nodes; what goes in is no constant, so that nothing is computed beforehand."""
    n = Nodes()
    wanted = [helper.make_empty_tensor_value_info(form(n))]
    used = {name for node in n.nodes for name in node.input}
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
        if name in used
    ]
    graph = helper.make_graph(n.nodes, "form", given, wanted, n.values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return open_model(model.SerializeToString(), 1)


def evaluate(form: Callable[[Nodes], str], feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the nodes give."""
    return run(open_nodes(form, feeds), feeds)()


def run(session: Any, feeds: Mapping[str, np.ndarray]) -> Callable[[], np.ndarray]:
    """A call that runs a session on those feeds that it has inputs for."""
    inputs = {entry.name: feeds[entry.name] for entry in session.get_inputs()}
    return lambda: session.run(None, inputs)[0]


def take_turns(candidates: Mapping[str, Callable[[], object]], rounds: int, warm: int = 3) -> Times:
    """Time the candidates one after the other, so often, so that what disturbs the machine meets all of them."""
    times: Times = {name: {"cpu": [], "wall": []} for name in candidates}
    for turn in range(-warm, rounds):
        for name, candidate in candidates.items():
            cpu, wall = time.process_time(), time.perf_counter()
            candidate()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if turn >= 0:
                times[name]["cpu"].append(cpu * 1e3)
                times[name]["wall"].append(wall * 1e3)
    return times
