"""Mutate real models and look whether anything but an explanation or a named error comes out.

    python tools/fuzz_models.py --seconds 120 --seed 1

Every mutant is inspected (read, understood, proven, and all outputs compared with those of the file as it is in plain
ONNX Runtime) in a worker process: what gives other outputs, ends it by a signal, takes longer than `--limit`, raises
anything but a `SecamError`, or leaves a file behind is a finding. The mutant is then kept below
`--keep`, and the exit code is 1. Memory of a worker is limited, as a small server's is.
"""

from __future__ import annotations

import argparse
import collections
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import onnx
from fuzzing.answering_process import AnsweringProcess, answer_lines
from fuzzing.mutations import mutate
from onnx import ModelProto

ROOT = Path(__file__).resolve().parent.parent
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_MEMORY = 8 << 30


def seeds() -> dict[str, ModelProto]:
    """Small real models: one of each kind of head, a larger one, and two as Caffe2 wrote them."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import beginnings
    import branched
    import tiny_models
    import token_networks

    models = {head: tiny_models.classifier(head) for head in tiny_models.HEADS}
    models["softmax"] = tiny_models.classifier(softmax=True)
    models["tokens"] = tiny_models.tokens(256, 16, 0)  # with a position embedding behind a Transpose
    models["large"] = tiny_models.classifier("mlp", channels=64, classes=300)  # its weights are not read with it
    constants = {"mean": [0.485, 0.456, 0.406], "scale": 1 / 255}
    steps = [beginnings.node("Mul", "image", "scale", "y"), beginnings.node("Sub", "y", "mean", "z")]
    models["normalises"] = beginnings.begun(
        [*steps, beginnings.node("Transpose", "z", "x", perm=[0, 3, 1, 2])], constants, ("N", 32, 32, 3)
    )
    branches = branched.branch("x", "a") + branched.branch("m", "b", stride=8) + "logits = Mean (a_z, b_z)"
    models["branches"] = branched.model("m = Slice (x, i_m1, i_m999, i_3, i_m1) " + branches)
    models["special tokens"] = token_networks.transformer(1, 2, positions_first=True)
    for name in ("squeezenet", "shufflenet"):
        models[name] = onnx.load(LIGHT / f"light_{name}.onnx")
    return models


def work() -> None:
    """Inspect the files whose paths come in, one a line, and answer with a word for each."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    from secam_onnx.classifier.inspection import inspect_model
    from secam_onnx.errors import FidelityError, SecamError

    def answer(path: str) -> str:
        try:
            compared = inspect_model(path)["fidelity"]["measured_now"]["outputs"]
        except FidelityError as error:
            return f"FOUND other outputs: {error}"
        except SecamError as error:
            return type(error).__name__ if str(error) else "an error without a word"
        return "compared" if compared else "FOUND an open model, not compared"

    answer_lines(answer)


def main() -> int:
    """Fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60, help="seconds a model may take")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return 0
    worker = AnsweringProcess([sys.executable, __file__, "--work"], options.limit)
    models, end = seeds(), time.monotonic() + options.seconds
    outcomes: collections.Counter[str] = collections.Counter()
    found = 0
    number = options.seed * 1_000_000
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "mutant.onnx"
        while time.monotonic() < end:
            number += 1
            chance = random.Random(number)
            name = chance.choice(sorted(models))
            path.write_bytes(mutate(models[name], chance))
            answer = worker.ask(str(path))
            if sorted(file.name for file in Path(room).iterdir()) != [path.name]:
                answer = "FOUND files left behind"
            outcomes[answer.split(":")[0]] += 1
            if answer.startswith("FOUND"):
                found += 1
                options.keep.mkdir(exist_ok=True)
                (options.keep / f"{number}-{name.replace('+', '-')}.onnx").write_bytes(path.read_bytes())
                print(f"{number} ({name}): {answer}", flush=True)
    worker.close()
    print(f"{sum(outcomes.values())} mutants of {len(models)} models: {dict(outcomes)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
