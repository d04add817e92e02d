"""The three steps of an explanation with one model, put together once for every caller."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Executor

import numpy as np

from secam_onnx.classifier.opened_model import ModelOutput, OpenModel
from secam_onnx.decoding import Decode, Reading, read_seen
from secam_onnx.errors import ModelError, SecamError
from secam_onnx.explanation import Explanation
from secam_onnx.labels.queries import ClassQuery
from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS
from secam_onnx.photograph.images import MAX_PIXELS, Photograph
from secam_onnx.pipeline.finish import finish
from secam_onnx.pipeline.per_process_model import PerProcessModel
from secam_onnx.pipeline.prepare import PreparedImage, prepare
from secam_onnx.pipeline.stream import stream
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.selection import Selection

__all__ = ["Pipeline"]


class Pipeline:
    """Prepares photographs, runs a model on them and finishes their explanations.

    `explain` and `stream` do all three. A caller with threads and batches of its own, such as a server, calls
    `prepare`, `run_each` and `finish`. All methods may be called from several threads.

    Parameters
    ----------
    per_process_model : PerProcessModel
        The model, which is opened again in a forked or unpickled pipeline.
    segmenter : Segmenter, optional
        How superpixels are made; by default as a fused model makes them, or `Segmenter()`.
    selection : Selection, optional
        Which superpixels pictures keep; by default as in the overlay of a fused model, or `Selection()`.
    formats : tuple of str
        The formats of files that are read, of `FORMATS`.
    isolate : bool
        Whether image files are read in processes that are ended where one takes too much.
    """

    def __init__(
        self,
        per_process_model: PerProcessModel,
        segmenter: Segmenter | None = None,
        selection: Selection | None = None,
        formats: tuple[str, ...] = DEFAULT_FORMATS,
        *,
        isolate: bool = False,
    ) -> None:
        self.per_process_model = per_process_model
        self.formats = formats
        self._isolate = isolate
        fused = self.model.metadata.fused
        self.segmenter = segmenter or (fused.segmenter if fused else Segmenter())
        self.selection = selection or (fused.selection if fused else Selection())

    @property
    def model(self) -> OpenModel:
        """The model, opened in this process.

        Raises
        ------
        OptionError
            The pipeline is closed.
        """
        return self.per_process_model.model

    def prepare(
        self,
        image: Photograph,
        segments: np.ndarray | None = None,
        *,
        segmenter: Segmenter | None,
        executor: Executor | None = None,
        max_pixels: int = MAX_PIXELS,
        keep_image: bool = True,
        decode: Decode | None = None,
    ) -> PreparedImage:
        """Read, crop and normalise a photograph, and start its superpixels in the background.

        Parameters
        ----------
        image : path, bytes, open file, EncodedImage, Image or ndarray
            See `Explainer.explain`.
        segments : ndarray, optional
            A label map to use instead of the segmenter's.
        segmenter : Segmenter or None
            How superpixels are made; None for no superpixels. Usually `self.segmenter`.
        executor : Executor, optional
            Where superpixels are made; by default in threads of the pipeline.
        max_pixels : int
            Larger images are refused before they are decoded.
        keep_image : bool
            Whether the result holds the photograph, without which no picture can be drawn.
        decode : callable
            Reads and crops the photograph; by default as the pipeline was told.

        Raises
        ------
        ImageError
            The image cannot be read.
        OptionError
            The label map does not fit, or the pipeline is closed.
        """
        pool = self.per_process_model.pool if executor is None else executor
        known = self.model.metadata
        how = Reading(
            known.preprocessing,
            max_pixels,
            eight_bit=known.fused is not None,
            keep_image=keep_image,
            formats=self.formats,
        )
        if decode is None:
            decode = self.per_process_model.decoders.decode if self._isolate else read_seen
        try:
            return prepare(image, self.model, segmenter, segments, pool, how, decode)
        except RuntimeError:
            if executor is None:
                self.per_process_model.check_open()  # threads that were shut down meanwhile take no work
            raise

    def run(self, jobs: Sequence[PreparedImage], queries: Sequence[Sequence[ClassQuery]]) -> list[ModelOutput]:
        """Run the model on several prepared photographs at once.

        Parameters
        ----------
        jobs : sequence of PreparedImage
            One or more photographs.
        queries : sequence of sequence of int or str
            For each photograph its classes: indices, names, `"top-K"`, `"all"`.

        Raises
        ------
        ModelError
            The model fails on these photographs or gives NaN.
        ClassError
            A class that the model does not have.
        """
        inputs = np.concatenate([job.inputs for job in jobs]) if len(jobs) > 1 else jobs[0].inputs
        segments = [job.segments for job in jobs]
        return self.model.run(inputs, queries, pool=None in segments, segments=segments)

    def run_each(
        self, jobs: Sequence[PreparedImage], queries: Sequence[Sequence[ClassQuery]]
    ) -> list[ModelOutput | ModelError]:
        """As `run`, but if the model fails, run it on each photograph alone, since one may be the reason.

        Returns
        -------
        list of ModelOutput or ModelError
            One for each photograph, in order.
        """
        try:
            return list(self.run(jobs, queries))
        except ModelError as error:
            if len(jobs) == 1:
                return [error]
            return [self.run_each([job], [query])[0] for job, query in zip(jobs, queries, strict=True)]

    def finish(self, job: PreparedImage, output: ModelOutput) -> Explanation:
        """Wait for the superpixels of a photograph and carry its maps to them."""
        return finish(self.model, job, output, self.selection)

    def explain(
        self, image: Photograph, queries: Sequence[ClassQuery], segments: np.ndarray | None = None
    ) -> Explanation:
        """All three steps for one photograph; parameters and errors are those of the steps."""
        job = self.prepare(image, segments, segmenter=self.segmenter)
        (output,) = self.run([job], [queries])
        return self.finish(job, output)

    def stream(
        self,
        images: Iterable[Photograph],
        queries: Sequence[ClassQuery],
        *,
        segments: Iterable[np.ndarray | None] | None = None,
        batch_size: int,
        workers: int,
        keep_images: bool = True,
    ) -> Generator[Explanation | SecamError, None, None]:
        """All three steps for any number of photographs; see `Explainer.explain_stream`."""
        return stream(
            zip(images, itertools.repeat(None) if segments is None else segments, strict=False),
            prepare=lambda item, executor: self.prepare(
                *item, segmenter=self.segmenter, executor=executor, keep_image=keep_images
            ),
            run=lambda jobs: self.run_each(jobs, [queries] * len(jobs)),
            finish=self.finish,
            batch_size=batch_size,
            workers=workers,
        )

    def close(self) -> None:
        """Shut the threads down and let go of the model; later calls raise OptionError."""
        self.per_process_model.close()
