"""Explain all heads of a model, such as age and gender, in one forward pass of their network."""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from secam_onnx import runtime
from secam_onnx.classifier.fidelity import Verify
from secam_onnx.classifier.opened_model import ModelOutput
from secam_onnx.classifier.several_heads import open_heads
from secam_onnx.errors import ClassError, ModelError, SecamError
from secam_onnx.explainer import BATCH_SIZE, Explainer
from secam_onnx.explanation import Explanation
from secam_onnx.head_query import HeadQuery
from secam_onnx.labels.queries import ClassQuery, as_queries
from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS, checked_formats
from secam_onnx.photograph.images import Photograph
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.pipeline.prepare import PreparedImage
from secam_onnx.pipeline.stream import stream
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.selection import Selection
from secam_onnx.threads import cores

__all__ = ["Heads"]


class Heads:
    """Explains all heads of an ordinary ONNX model.

    Parameters
    ----------
    model : path
        The original model or its folder; a file that was exported for one head is refused.
    providers, segmenter, selection, preprocessing, threads, verify, formats, isolate : optional
        As in `Explainer`.

    Attributes
    ----------
    explainers : dict of str to Explainer
        By explained output. All share one session of the network, which keeps its last run: explaining one photograph
        with each of them takes one forward pass.

    Raises
    ------
    ModelError
        As `Explainer` does.
    OptionError
        The file was exported for one head.
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
        formats: Sequence[str] | None = None,
        isolate: bool = False,
    ) -> None:
        options: dict[str, Any] = {
            "providers": "auto" if providers is None else providers,
            "preprocessing": preprocessing,
            "threads": threads,
            "verify": verify,
        }
        read = DEFAULT_FORMATS if formats is None else checked_formats(formats)
        self.explainers = {
            name: Explainer.of_opened(
                model, {**options, "query": HeadQuery(name)}, opened, segmenter, selection, read, isolate=isolate
            )
            for name, opened in open_heads(model, **options).items()
        }

    def check_classes(self, classes: ClassQuery | Iterable[ClassQuery]) -> None:
        """Raise an error for classes that one of the heads does not have; see `Explainer.check_classes`."""
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
            By explained output.

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
