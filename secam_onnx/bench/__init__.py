"""The benchmark: what an explanation costs beside the plain forward pass, in one run, in turns."""

from secam_onnx.bench.machine import record
from secam_onnx.bench.measure import Seen, Settings, measure
from secam_onnx.bench.report import report
from secam_onnx.bench.rounds import Candidate, DropoutError, Elsewhere, Rounds, Times, take_turns

__all__ = [
    "Candidate",
    "DropoutError",
    "Elsewhere",
    "Rounds",
    "Seen",
    "Settings",
    "Times",
    "measure",
    "record",
    "report",
    "take_turns",
]
