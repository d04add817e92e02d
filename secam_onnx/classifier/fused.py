"""A fused model: one session runs all steps, and opening it needs no onnx."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from secam_onnx import runtime
from secam_onnx.classifier.chunked_runs import run_in_chunks
from secam_onnx.classifier.fidelity import (
    ON_A_CARD,
    Feeds,
    Fidelity,
    Outputs,
    Verify,
    check_verify,
    compare_outputs,
    outputs_of,
    trial_images,
)
from secam_onnx.classifier.metadata import KEY, Declared, FusedRecord, ModelMetadata
from secam_onnx.classifier.opened_model import (
    ModelOutput,
    Segments,
    SuperpixelScores,
    check_logits,
    ms_since,
    probabilities_of,
)
from secam_onnx.errors import ForkError, ModelError, OptionError
from secam_onnx.files import printable, unchanged
from secam_onnx.graph.protobuf import read_metadata
from secam_onnx.labels.objects import miscounted
from secam_onnx.labels.queries import ClassQuery, class_codes
from secam_onnx.memory import out_of_memory
from secam_onnx.superpixels import Segmenter

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["FusedModel", "fused_metadata", "open_fused"]

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
}
_PICTURES, _MAPS = 64, 512  # images times classes in one run, with overlays and without
_AGAIN = "Fuse the original model again with `secam-onnx export --fused`."


class FusedModel:
    """Runs a fused model; an `OpenModel`.

    Parameters
    ----------
    name : str
        File name, for display.
    metadata : ModelMetadata
        Read from the file.
    session : InferenceSession
        The session of the file.
    """

    files: tuple[Path, ...] = ()

    def __init__(self, name: str, metadata: ModelMetadata, session: onnxruntime.InferenceSession) -> None:
        record = metadata.fused
        assert record is not None
        self.name = name
        self.metadata = metadata
        self.n_classes = record.n_classes
        self.tolerance = record.tolerance
        self._record = record
        self._session = session
        self._logits = record.own_outputs[metadata.logits]
        self.fidelity: Fidelity | None = None
        self._probabilities = None if metadata.probabilities is None else record.own_outputs[metadata.probabilities]

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, in order."""
        return tuple(self._session.get_providers())

    @property
    def batch(self) -> int | None:
        """Number of pictures in one run; None for any number."""
        return self._record.batch

    @property
    def attribution(self) -> str:
        """How maps are made."""
        return self._record.attribution

    @property
    def segmenter(self) -> Segmenter:
        """How the model makes superpixels."""
        return self._record.segmenter

    def input_of(self, picture: np.ndarray) -> np.ndarray:
        """The picture itself, `(1, h, w, 3)` uint8."""
        return picture[None]

    def run(
        self,
        inputs: np.ndarray,
        queries: Sequence[Sequence[ClassQuery]],
        *,
        pool: bool = True,
        segments: Sequence[Segments | None] = (),
    ) -> list[ModelOutput]:
        """Explain some classes of each picture; see `OpenModel`."""
        asked = [class_codes(own, self.n_classes, self.metadata.labels) for own in queries]
        longest = max(map(len, asked))
        codes = np.array([own + own[-1:] * (longest - len(own)) for own in asked], dtype=np.int64)
        own = [name for name in dict.fromkeys((self._logits, self._probabilities)) if name is not None]
        names = [*own, "class_ids", "cam", "bias"]
        if pool:
            names += ["segments", "n_segments", "segment_scores", "segment_contributions"]
        start = time.perf_counter()
        found = self._run(names, inputs, codes)
        timings = {"fused": ms_since(start) / len(inputs)}
        rows = range(len(inputs))
        return [self._output_of({name: values[row] for name, values in found.items()}, timings) for row in rows]

    def compare(self, expected: Outputs, tolerance: float) -> None:
        """Compare the model's own outputs for the trial images with those of the file that it was made from.

        Raises
        ------
        FidelityError
            They differ; the message names an output and both numbers.
        """
        names = self._record.own_outputs
        expected = {image: {name: given[name] for name in names if name in given} for image, given in expected.items()}
        found = outputs_of(self._session, self._trials(), list(names.values()))
        ours = {image: {name: given[names[name]] for name in names} for image, given in found.items()}
        compare_outputs(expected, ours, tolerance)

    def verify(self, session: onnxruntime.InferenceSession) -> None:
        """Compare all outputs for the trial images with those of another session of this file, and set `fidelity`.

        Raises
        ------
        FidelityError
            They differ; the message names an output and both numbers.
        """
        names = [entry.name for entry in self._session.get_outputs()]
        expected, found = (outputs_of(one, self._trials(), names) for one in (session, self._session))
        tolerance = self.tolerance if self.providers[0] == runtime.CPU else max(self.tolerance, ON_A_CARD)
        self.fidelity = compare_outputs(expected, found, tolerance)

    def _trials(self) -> Feeds:
        """Inputs for the trial images and their highest class."""
        size, preprocessing = self.batch or 1, self.metadata.preprocessing
        code = np.full((size, 1), -1, dtype=np.int64)
        return {
            name: {"image": np.repeat(self.input_of(preprocessing.crop(image)[0]), size, axis=0), "classes": code}
            for name, image in trial_images(preprocessing).items()
        }

    def _run(self, names: Sequence[str], inputs: np.ndarray, codes: np.ndarray) -> dict[str, np.ndarray]:
        size = self.batch or len(inputs)
        # A session computes every output, requested or not: the pictures of a thousand classes would fill memory.
        columns = max(1, (_PICTURES if self._record.overlay else _MAPS) // size)
        of_classes = {name for name, (_, shape) in self._record.outputs.items() if shape[1:2] == ["K"]}
        try:
            found = run_in_chunks(
                self._session, names, {"image": inputs}, ("classes", codes), (size, columns),
                fill=True, of_classes=of_classes,
            )  # fmt: skip
        except ForkError:
            raise
        except Exception as error:
            raise out_of_memory(error) or ModelError(
                f"The fused model fails on pictures of shape {inputs.shape}: {error}. {_AGAIN}"
            ) from error
        return dict(zip(names, found, strict=True))

    def _output_of(self, found: Mapping[str, np.ndarray], timings: dict[str, float]) -> ModelOutput:
        """The result of one picture, from its row of each output."""
        logits = found[self._logits]
        check_logits(logits)
        # Shorter rows repeat their last class, and top-K and a name can stand for the same class.
        ids, rows = np.unique(found["class_ids"], return_index=True)
        rows = np.sort(rows)
        ids = found["class_ids"][rows].tolist()
        superpixels = None
        if "segments" in found:
            there = int(found["n_segments"])
            superpixels = SuperpixelScores(
                found["segments"],
                found["segment_scores"][rows, :there],
                found["segment_contributions"][rows, :there],
            )
        if self._probabilities is None:
            probabilities = probabilities_of(logits[None], self.metadata.probability)[0]
        else:
            probabilities = found[self._probabilities]
        return ModelOutput(logits, probabilities, ids, found["cam"][rows], found["bias"][rows], timings, superpixels)


def fused_metadata(path: Path) -> ModelMetadata | None:
    """Read the metadata of a fused file; None for any other file, and for one that cannot be read.

    Raises
    ------
    ModelError
        It has another schema, or its metadata is damaged.
    """
    try:
        text = read_metadata(path).get(KEY)
    except OSError:
        return None
    metadata = None if text is None else ModelMetadata.from_json(text)
    return metadata if metadata is not None and metadata.fused is not None else None


def open_fused(
    path: Path,
    metadata: ModelMetadata,
    *,
    providers: runtime.Providers = "auto",
    labels: tuple[str, ...] | None = None,
    threads: int | None = None,
    verify: Verify = "auto",
    fixed: Sequence[str] = (),
) -> FusedModel:
    """Open a fused model.

    Parameters
    ----------
    path : Path
        The file.
    metadata : ModelMetadata
        See `fused_metadata`.
    providers : str or sequence of str
        See `runtime.resolve_providers`.
    labels : tuple of str, optional
        Class names, for a file that has none.
    threads : int, optional
        Processor threads for one run; all cores by default.
    verify : bool or 'auto'
        Whether to compare the outputs with those of the same file under ONNX Runtime's default options; by default
        not.
    fixed : sequence of str
        Names of other options that were given; a fused file leaves none of them open.

    Raises
    ------
    ModelError
        The file cannot be read, or contradicts its metadata.
    OptionError
        An option contradicts the file.
    """
    record = metadata.fused
    assert record is not None
    clashing = list(fixed)
    if labels is not None and metadata.labels is None:
        if len(labels) != record.n_classes:
            raise OptionError(miscounted(labels, record.n_classes))
        metadata = replace(metadata, labels=labels)
    elif labels is not None:
        clashing.append("labels")
    if clashing:
        raise OptionError(f"{path} is a fused model, which fixes its own {' and '.join(clashing)}; fuse it again.")
    with unchanged(path):
        session = runtime.open_session(path, providers, prepack=True, threads=threads)
        _check(session, metadata, record)
        opened = FusedModel(printable(path.name), metadata, session)
        opened.files = (path,)
        if check_verify(verify) is True:
            opened.verify(runtime.open_as_it_is(path, threads))
    return opened


def _check(session: onnxruntime.InferenceSession, metadata: ModelMetadata, record: FusedRecord) -> None:
    """Compare the inputs and outputs of a session with those in the metadata."""
    with_default = {entry.name: entry for entry in session.get_overridable_initializers()}
    given = {entry.name: entry for entry in session.get_inputs()} | with_default
    made = {entry.name: entry for entry in session.get_outputs()}
    for own in record.own_outputs.values():
        if own not in made:
            raise ModelError(f"The fused model has no output {own!r}, which its metadata name. {_AGAIN}")
    of_classes: Declared = {
        record.own_outputs[name]: ("float32", ["N", record.n_classes])
        for name in (metadata.logits, metadata.probabilities)
        if name is not None
    }
    for there, said in ((given, record.inputs), (made, record.outputs), (made, of_classes)):
        for name, (dtype, shape) in said.items():
            entry = there.get(name)
            if entry is None or dtype != _DTYPES.get(entry.type) or not _like(shape, entry.shape):
                now = "nothing of that name" if entry is None else f"{entry.type} {entry.shape}"
                raise ModelError(
                    f"The fused model's metadata promise {name!r} as {dtype} {shape}; there is {now}. {_AGAIN}"
                )
    for what, promised, found in (
        ("default_classes", record.default_classes, "classes" in with_default),
        ("overlay", record.overlay, "overlay" in made),
    ):
        if promised != found:
            raise ModelError(f"The fused model's metadata has {what} {promised}, but its graph {found}. {_AGAIN}")


def _like(promised: Sequence[int | str], there: Sequence[int | str | None]) -> bool:
    """Whether two shapes have the same lengths; `"N"` of the batch may be a number."""
    pairs = list(zip(promised, there, strict=False))
    return len(promised) == len(there) and all(
        (said == found) if isinstance(said, int) else (place == 0 or not isinstance(found, int))
        for place, (said, found) in enumerate(pairs)
    )
