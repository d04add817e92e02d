"""The public class: photograph in, explanation out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from secam_onnx import runtime
from secam_onnx.arguments import checked
from secam_onnx.classifier.fidelity import Fidelity, Verify
from secam_onnx.classifier.opened_model import OpenModel, attribution_in_words
from secam_onnx.errors import OptionError, PreprocessingWarning, SecamError
from secam_onnx.explanation import Explanation
from secam_onnx.head_query import HeadQuery
from secam_onnx.labels.given import given_labels
from secam_onnx.labels.objects import classes_in_words
from secam_onnx.labels.queries import ClassQuery, as_queries, class_codes
from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS, checked_formats
from secam_onnx.photograph.images import Photograph
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.pipeline import Pipeline
from secam_onnx.pipeline.finish import describe
from secam_onnx.pipeline.per_process_model import PerProcessModel
from secam_onnx.shown_text import shown, shown_name
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.selection import Selection
from secam_onnx.threads import cores

__all__ = ["BATCH_SIZE", "Explainer"]

BATCH_SIZE = 4
"""Default number of images in a forward pass; on the CPU more take memory and are no faster."""


class Explainer:
    """Explains an ONNX image classifier with SeCAM.

    An explainer holds one session of the network and may be used from several threads. A forked process opens the
    model again when it first uses it; pickles and copies hold no session and open it again from its file.

    `close()`, or the end of a `with` block, shuts the explainer's threads down and lets go of the model:

    >>> with Explainer("classifier.onnx") as explainer:  # doctest: +SKIP
    ...     explanation = explainer.explain("photo.jpg")

    An explainer that is never closed is released with the last reference to it, or when the program ends.

    Parameters
    ----------
    model : path, optional
        An ordinary ONNX classifier, an explainable or a fused model (`secam-onnx export`), or the folder of one. By
        default EfficientNet-Lite0 for ImageNet-1k, which comes with the package. Fused models do not need onnx. Image
        encoders, such as CLIP's, get their classes from `secam_onnx.export.with_classes` first.
    providers : str or sequence of str, optional
        `"auto"` (the default: CUDA if it works, else the CPU), `"cpu"`, `"cuda"`, or ONNX Runtime's own provider names.
    segmenter : Segmenter, optional
        How superpixels are made; by default as a fused model makes them, or `Segmenter()`.
    selection : Selection, optional
        Which superpixels pictures keep; by default as in the overlay of a fused model, or `Selection()`.
    preprocessing : Preprocessing, PreprocessingSettings or str, optional
        For an ordinary model: all of it, some settings, or a preset's name. The rest is read from the file's metadata,
        from files beside it, or from the first nodes of the graph; otherwise it is that of torchvision.
    labels : sequence of str, mapping or path, optional
        Class names for an ordinary model, also as `{index: name}` or as a file (see `labels.read_labels`); read from
        the file's metadata or the files beside it by default.
    logits, features : str, optional
        For an ordinary model: which output to explain, or any tensor `(N, classes)`, and a feature map further up, by
        name.
    token_grid : (int, int), optional
        For an ordinary model: rows and columns of a feature map `(N, tokens, C)`; by default in the proportion of the
        picture's height and width.
    blocks : int or tuple of int, optional
        For a transformer: how many of its last attention blocks lie between the feature map and the logits; by default
        a third of them, rounded up. The maps of several numbers are averaged.
    activation : {'auto', 'softmax', 'sigmoid', 'none'}, optional
        What turns raw outputs into probabilities. By default what the graph and the values of the output show;
        otherwise softmax is assumed for several outputs, and a single one has no probability.
    attribution : {'gradient', 'detached', 'integrated', 'masking'}, optional
        How the map is made; by default as the head requires (see `secam_onnx.classifier.attribution`).
    threads : int, optional
        Processor threads for one forward pass; by default one for each core. Superpixels take one more.
    verify : bool or 'auto', optional
        Whether all outputs are compared with those of the untouched file in plain ONNX Runtime: True on three images,
        False on none; `"auto"` (the default) on one image, unless the weights have more than 1 GiB. Explainable and
        fused files were compared at export, and are compared again only with True.
    formats : sequence of str, optional
        The formats of image files that are read, such as `["JPEG", "PNG"]`; by default all but JPEG 2000.
    isolate : bool
        Whether image files are read in processes of their own, as many at a time as there are cores. One that takes
        more than 10 s or 7 GB for an image, or crashes, is ended and replaced, and the image is an ImageError. For
        files of strangers; without it, a file that crashes a decoder ends the program.

    Raises
    ------
    ModelError
        The model cannot be read, cannot be explained, or gives other outputs than its file.
    ProviderError
        A provider that was asked for by name cannot start.
    MissingDependencyError
        ONNX Runtime is not installed.

    Warns
    -----
    PreprocessingWarning
        The preprocessing repeats what the graph does, or does not fit the graph.

    References
    ----------
    .. [1] Q. H. Cao et al., "A Novel Explainable Artificial Intelligence Model in Image Classification problem",
       arXiv 2307.04137.
    """

    @checked("labels")
    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        providers: runtime.Providers | None = None,
        segmenter: Segmenter | None = None,
        selection: Selection | None = None,
        preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
        labels: Sequence[str] | Mapping[int, str] | str | os.PathLike[str] | None = None,
        logits: str | None = None,
        features: str | None = None,
        token_grid: tuple[int, int] | None = None,
        blocks: int | tuple[int, ...] | None = None,
        activation: str | None = None,
        attribution: str | None = None,
        threads: int | None = None,
        verify: Verify = "auto",
        formats: Sequence[str] | None = None,
        isolate: bool = False,
    ) -> None:
        if threads is not None and threads < 1:
            raise OptionError(f"threads is {threads}; 1 or more was expected.")
        options: dict[str, Any] = {
            "providers": "auto" if providers is None else providers,
            "preprocessing": preprocessing,
            "labels": None if labels is None else given_labels(labels),
            "query": HeadQuery(logits, features, token_grid, blocks),
            "activation": activation,
            "attribution": attribution,
            "threads": threads,
            "verify": verify,
        }
        read = DEFAULT_FORMATS if formats is None else checked_formats(formats)
        self.pipeline = Pipeline(PerProcessModel(model, options), segmenter, selection, read, isolate=isolate)
        if self.preprocessing_warning:
            warnings.warn(self.preprocessing_warning, PreprocessingWarning, stacklevel=3)

    @classmethod
    def of_opened(
        cls,
        model: str | os.PathLike[str],
        options: dict[str, Any],
        opened: OpenModel,
        segmenter: Segmenter | None,
        selection: Selection | None,
        formats: tuple[str, ...] = DEFAULT_FORMATS,
        *,
        isolate: bool = False,
    ) -> Explainer:
        """Make an explainer of a model that is open already; another process opens it with these options."""
        explainer = cls.__new__(cls)
        opened_here = PerProcessModel(model, options, opened)
        explainer.pipeline = Pipeline(opened_here, segmenter, selection, formats, isolate=isolate)
        return explainer

    def close(self) -> None:
        """Shut the explainer's threads down and let go of the model.

        Results stay valid. Later calls raise OptionError; closing again does nothing.
        """
        self.pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.pipeline.per_process_model.path

    @property
    def classifier(self) -> OpenModel:
        """The model, opened in this process."""
        return self.pipeline.model

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names; None if the model has none."""
        return self.classifier.metadata.labels

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that the network runs on, in order."""
        return self.classifier.providers

    @property
    def preprocessing(self) -> Preprocessing:
        """How photographs are prepared for the network."""
        return self.classifier.metadata.preprocessing

    @property
    def fidelity(self) -> Fidelity | None:
        """How the outputs compare with those of the untouched file; None if they were not compared."""
        return self.classifier.fidelity

    @property
    def preprocessing_note(self) -> str | None:
        """How the preprocessing was chosen, if the model file does not say."""
        return self.classifier.metadata.origin.get("preprocessing")

    @property
    def preprocessing_warning(self) -> str | None:
        """What is wrong with the preprocessing: it repeats what the graph does, or does not fit the graph."""
        return self.classifier.metadata.origin.get("preprocessing_warning")

    @property
    def features_warning(self) -> str | None:
        """Why maps may say little, if the feature map that was found is a poor one."""
        return self.classifier.metadata.origin.get("features_warning")

    @property
    def segmenter(self) -> Segmenter:
        """How superpixels are made."""
        return self.pipeline.segmenter

    @property
    def selection(self) -> Selection:
        """Which superpixels pictures keep."""
        return self.pipeline.selection

    @property
    def settings(self) -> dict[str, object]:
        """Everything that results depend on besides the photograph and the classes, as plain JSON types."""
        selection = {name: value for name, value in vars(self.pipeline.selection).items() if value is not None}
        return describe(self.classifier) | {"superpixels": dict(vars(self.pipeline.segmenter)), "selection": selection}

    def __repr__(self) -> str:
        if self.pipeline.per_process_model.closed:
            return f"<Explainer of {shown_name(self.model.name)}: closed>"
        model = self.classifier
        providers = ", ".join(name.removesuffix("ExecutionProvider") for name in self.providers)
        return shown(
            f"<Explainer of {shown_name(model.name)}: {classes_in_words(model.n_classes)}, {model.metadata.head.kind}, "
            f"{attribution_in_words(model.attribution, model.metadata.head)}; {self.preprocessing}; on {providers}>"
        )

    def check_classes(self, classes: ClassQuery | Iterable[ClassQuery]) -> None:
        """Refuse classes that the model does not have, before any image is read.

        Raises
        ------
        ClassError
            A name is unknown, or an index out of range.
        """
        class_codes(as_queries(classes), self.classifier.n_classes, self.labels)

    @checked("image", "classes")
    def explain(
        self,
        image: Photograph,
        classes: ClassQuery | Iterable[ClassQuery] = "top-1",
        *,
        segments: np.ndarray | None = None,
    ) -> Explanation:
        """Explain one photograph.

        Parameters
        ----------
        image : path, bytes, open file, EncodedImage, Image or ndarray
            A file's path, its bytes, or a file open for bytes; a Pillow image; or an array `(H, W)` or `(H, W, C)` of
            uint8, uint16 or floats in [0, 1], or of any numbers if `preprocessing` has a `value_range`.
        classes : int, str or iterable of these
            Which classes: indices, names, `"top-K"`, `"all"`. An int is an index; for text see `labels.find_class`.
        segments : ndarray, optional
            A label map of your own: integers, at the size of the photograph or of the model's input. Superpixels
            outside the model's crop are left out.

        Returns
        -------
        Explanation
            The result.

        Raises
        ------
        ImageError
            The image cannot be read.
        ClassError
            A class that the model does not have.
        OptionError
            The label map does not fit, or the explainer is closed.
        """
        return self.pipeline.explain(image, as_queries(classes), segments)

    @checked("images", "classes")
    def explain_batch(
        self,
        images: Iterable[Photograph],
        classes: ClassQuery | Iterable[ClassQuery] = "top-1",
        *,
        segments: Sequence[np.ndarray] | None = None,
    ) -> list[Explanation]:
        """Explain several photographs, which may differ in size, a few in each forward pass.

        Parameters
        ----------
        images, classes
            As in `explain`.
        segments : sequence of ndarray, optional
            A label map for each photograph.

        Returns
        -------
        list of Explanation
            One for each photograph, in order; the same as `explain` gives for each.

        Raises
        ------
        ImageError, ClassError, OptionError
            As in `explain`; the first error ends the batch.
        """
        _check_several(images)
        photographs = list(images)
        if segments is not None and len(segments) != len(photographs):
            raise OptionError(
                f"There are {len(segments)} label maps for {len(photographs)} images; give one for each image."
            )
        results = []
        for result in self.explain_stream(photographs, classes, segments=segments):
            if isinstance(result, SecamError):
                raise result
            results.append(result)
        return results

    @checked("images", "classes")
    def explain_stream(
        self,
        images: Iterable[Photograph],
        classes: ClassQuery | Iterable[ClassQuery] = "top-1",
        *,
        segments: Iterable[np.ndarray | None] | None = None,
        batch_size: int = BATCH_SIZE,
        workers: int | None = None,
        keep_images: bool = True,
    ) -> Generator[Explanation | SecamError, None, None]:
        """Explain any number of photographs, one after the other, in bounded memory.

        Reading, superpixels, the network and the rest run at the same time in threads, a few photographs ahead of the
        caller.

        Parameters
        ----------
        images, classes
            As in `explain`; `images` may be an endless generator. It runs in the caller's thread.
        segments : iterable of ndarray or None, optional
            A label map for each photograph.
        batch_size : int
            Photographs in a forward pass; results change by float rounding at most.
        workers : int, optional
            Threads besides those of the network; by default one for each core.
        keep_images : bool
            Whether results hold the photograph. Without it they take less memory, but no pictures can be drawn.

        Returns
        -------
        generator of Explanation, ImageError or ModelError
            For each photograph, in order, the result, or why there is none: the image cannot be read, or the model
            fails on it. To stop early, call the generator's `close()`.

        Raises
        ------
        ClassError
            A class that the model does not have.
        OptionError
            A label map does not fit, `batch_size` or `workers` is below 1, or the explainer is closed.
        """
        _check_several(images)
        queries = as_queries(classes)
        self.check_classes(queries)
        workers = cores() if workers is None else workers
        if batch_size < 1 or workers < 1:
            raise OptionError(f"batch_size is {batch_size} and workers {workers}; 1 or more was expected.")
        return self.pipeline.stream(
            images,
            queries,
            segments=segments,
            batch_size=batch_size,
            workers=workers,
            keep_images=keep_images,
        )


def _check_several(images: object) -> None:
    if isinstance(images, str | bytes | os.PathLike) or hasattr(images, "read"):
        raise OptionError("images is a single image; give a list of images, or call explain.")
    if not isinstance(images, Iterable) or not getattr(images, "ndim", 1):
        raise OptionError(
            f"images is of type {type(images).__name__}; a list or another iterable of images was expected."
        )
