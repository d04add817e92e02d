"""Attribution: run the contribution model for what each cell of a feature map adds to a logit, in one of three ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from secam_onnx.classifier.chunked_runs import run_in_chunks
from secam_onnx.classifier.opened_model import ATTRIBUTIONS
from secam_onnx.errors import REPORT_MODEL, ForkError, ModelError, OptionError
from secam_onnx.head import BIAS, CAM, CLASS_IDS, GAP, PARTS, ROUNDING, each_cell, features_name
from secam_onnx.memory import out_of_memory

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Attribution", "choose_attribution", "quadrature"]

# Measured by insertion minus deletion (studies/attributions): on a trained smooth head the gradient is no better than
# chance; through a layer normalisation it is worse than integrated gradients, and its sum tells nothing. Masking ranks
# as well, but misses the logit by a third or more.
_DEFAULTS = {
    "piecewise linear": "gradient",
    "rounded": "gradient",
    "detached": "detached",
    "smooth": "integrated",
    "unknown": "masking",
}
_STEPS = 32
_GROWTH = 12.0
_DETACHED_AT_ONCE = 8  # of which each passes several blocks of a transformer
_GRADIENTS_AT_ONCE = 256  # images times classes; each gradient of an MLP head is as large as the feature map


def choose_attribution(algebra: str, wanted: str | None = None) -> str:
    """Choose how to make maps of a head: as wanted, if the head allows it.

    Parameters
    ----------
    algebra : {'piecewise linear', 'rounded', 'detached', 'smooth', 'unknown'}
        See `Head.algebra`.
    wanted : str, optional
        One of `ATTRIBUTIONS`.

    Raises
    ------
    OptionError
        `wanted` is unknown, or needs the gradient of a head that is not understood.
    """
    if wanted is None:
        return _DEFAULTS[algebra]
    if wanted not in ATTRIBUTIONS:
        raise OptionError(f"Unknown attribution {wanted!r}; there are {', '.join(ATTRIBUTIONS)}.")
    if (algebra == "detached") != (wanted == "detached") and wanted != "masking" and algebra != "unknown":
        raise OptionError(
            f"Attribution {wanted!r} does not fit this head, in which attention weights are held; it allows 'detached' "
            "and 'masking'."
            if algebra == "detached"
            else "Attribution 'detached' is for heads behind attention; this head has none."
        )
    if algebra == "unknown" and wanted != "masking":
        raise OptionError(
            f"Attribution {wanted!r} needs a head whose every node is understood; this one allows only 'masking'."
        )
    return wanted


Features = tuple[np.ndarray, ...]


class Attribution:
    """Runs a contribution model.

    Parameters
    ----------
    session : InferenceSession
        The session of the contribution model.
    attribution : {'gradient', 'detached', 'integrated', 'masking'}
        How the contribution model was made.
    batch : int or None
        Number of feature maps in one run; None for any number.
    at_once : (int, int) or None
        See `ContributionModel`.
    saved : sequence of str
        Further tensors of the network that it takes; see `ContributionModel`.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        attribution: str,
        batch: int | None = None,
        at_once: tuple[int, int] | None = None,
        saved: Sequence[str] = (),
    ) -> None:
        self.attribution = attribution
        self.saved = tuple(saved)
        self._session = session
        self._batch = batch
        self._images_at_once = None if at_once is None else at_once[0]
        self.masks_at_once = 1 if at_once is None else at_once[1]

    def __call__(
        self, features: Features, class_ids: np.ndarray, parts: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute what each cell of the feature map adds to the logits.

        Parameters
        ----------
        features : tuple of ndarray
            `(N, C, h, w)` float32, one for each feature map of the head; then what is `saved`.
        class_ids : ndarray
            `(N, K)` int64.
        parts : ndarray, optional
            `(N, h, w)` int64, what is masked; by default each cell (see `masked_parts`).

        Returns
        -------
        cam : ndarray
            `(N, K, h, w)` float32; the sum over several feature maps.
        bias : ndarray
            `(N, K)` float32; `cam.sum((2, 3)) + bias` are the logits, up to the completeness gap.
        """
        if self.attribution == "integrated":
            return self._integrate(features, class_ids)
        maps, bias, _ = self.local(features, class_ids, parts)
        return maps, bias

    def local(
        self, features: Features, class_ids: np.ndarray, parts: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Maps, bias and gap of the gradient at these features; together they are the logits. Parameters as above."""
        maps, bias, gap = self._run([CAM, BIAS, GAP], features, class_ids, parts)
        return maps, bias, gap

    def with_rounding(
        self, features: Features, class_ids: np.ndarray, parts: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """As `local`, and the largest change of the logits if each rounding of the head moves by one step."""
        # In one run: ONNX Runtime runs all nodes, whatever the requested outputs.
        maps, bias, gap, rounding = self._run([CAM, BIAS, GAP, ROUNDING], features, class_ids, parts)
        return maps, bias, gap, rounding

    def _run(
        self, names: list[str], features: Features, class_ids: np.ndarray, parts: np.ndarray | None = None
    ) -> list[np.ndarray]:
        most = _DETACHED_AT_ONCE if self.attribution == "detached" else _GRADIENTS_AT_ONCE
        rows = self._batch or self._images_at_once or max(1, most // class_ids.shape[1])
        maps = len(features) - len(self.saved)
        fed = {features_name(index): array for index, array in enumerate(features[:maps])}
        fed |= zip(self.saved, features[maps:], strict=True)
        if parts is None and self.attribution == "masking" and features[0].ndim == 4:
            parts = np.repeat(each_cell(*features[0].shape[2:]), len(class_ids), axis=0)
        if parts is not None:
            fed[PARTS] = parts
        # One run of a masked head gives all logits, and runs are what costs.
        columns = class_ids.shape[1] if self.attribution == "masking" else max(1, most // rows)
        try:
            return run_in_chunks(
                self._session, names, fed, (CLASS_IDS, class_ids), (rows, columns),
                fill=self._batch is not None, of_classes=names,
            )  # fmt: skip
        except ForkError:
            raise
        except Exception as error:
            raise out_of_memory(error) or ModelError(
                f"The head fails on a feature map of shape {' and '.join(str(array.shape) for array in features)}, "
                f"run alone: {error}. {REPORT_MODEL}"
            ) from error

    def _integrate(self, features: Features, class_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`f . integral of J(a f) da` along the path from the zero feature map, whose logit is the bias."""
        fractions, weights = quadrature()
        steps = np.append(fractions, 0).astype(np.float32)
        all_maps, all_bias = [], []
        for *own, ids in zip(*features, class_ids, strict=True):
            path = tuple(np.multiply.outer(steps, array) for array in own)
            maps, bias, gap = self.local(path, np.repeat(ids[None], len(steps), axis=0))
            # The model gives J(a f) . a f; the integrand is J(a f) . f.
            share = (weights / fractions).astype(np.float32)
            all_maps.append(np.tensordot(share, maps[:-1], axes=1))
            all_bias.append(bias[-1] + gap[-1])
        return np.stack(all_maps), np.stack(all_bias)


def quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Points in (0, 1) and weights for integrated gradients: Gauss-Legendre, denser near 0.

    The epsilon of a layer normalisation matters only within the first 1e-6 of the path. Of the spacings that were tried
    (powers, exponentials) this one missed the logits of ConvNeXt by less than 1e-5, and those of hard swish, whose
    kinks limit every rule, by at most 1e-2. Equal spacing missed those of ConvNeXt by all of the logit.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_STEPS)
    grown = np.exp(_GROWTH * (nodes + 1) / 2)
    span = np.expm1(_GROWTH)
    return (grown - 1) / span, weights / 2 * _GROWTH * grown / span
