"""The benchmark: what an explanation costs compared with the plain forward pass, measured in turns."""

from secam_onnx.bench.machine import record
from secam_onnx.bench.measure import PeerInput, Settings, measure
from secam_onnx.bench.report import report
from secam_onnx.bench.rounds import Candidate, DropoutError, Elsewhere, Rounds, Times, take_turns

__all__ = [
    "Candidate",
    "DropoutError",
    "Elsewhere",
    "PeerInput",
    "Rounds",
    "Settings",
    "Times",
    "measure",
    "record",
    "report",
    "take_turns",
]
