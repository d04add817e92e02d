"""Heads that join several branches: each branch's own feature map, added on a common grid, against each alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from branched import CLASSES, SIZE, branch, model, opened, pictures
from onnx import ModelProto, numpy_helper

from secam_onnx import Explainer, fuse
from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.metadata import HeadRecord, ModelMetadata
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.errors import HeadError, ModelError, OptionError
from secam_onnx.export.explainable_file import export_model
from secam_onnx.export.source import Source
from secam_onnx.graph.index import Graph
from secam_onnx.head import find_head
from secam_onnx.head.picture_span import Span, common_size, spread_matrix
from secam_onnx.head_query import HeadQuery
from secam_onnx.photograph.preprocessing import Preprocessing

ALL = np.repeat(np.arange(CLASSES)[None], 2, axis=0)
MEAN = "logits = Mean (a_z, b_z)"
MIRROR = {
    "slice": "m = Slice (x, i_m1, i_m9223372036854775807, i_3, i_m1) ",
    "gather": "m = Gather <axis = 3> (x, " + "_".join(["i", *map(str, range(SIZE)[::-1])]) + ") ",
    "twice transposed": "t = Transpose <perm = [3, 1, 2, 0]> (x) r = Slice (t, i_m1, i_m999, i_0, i_m1) "
    "m = Transpose <perm = [3, 1, 2, 0]> (r) ",
}


def explained(classifier: Classifier, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps and bias of all classes, and the logits."""
    features, logits, _ = classifier.forward(x)
    return *classifier.contribute(features, ALL[: len(x)]), logits


def plain(network: ModelProto, x: np.ndarray) -> np.ndarray:
    """The logits as ONNX Runtime gives them for the file as it is."""
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"x": x})[0]


def alone(name: str, folder: Path, **options: int) -> tuple[Classifier, ModelProto]:
    network = model(f"{branch('x', name, **options)} logits = Identity ({name}_z)")
    return opened(network, folder), network


@pytest.mark.parametrize(
    ("joined", "shares"),
    {
        "mean": (MEAN, (0.5, 0.5)),
        "sum": ("logits = Add (a_z, b_z)", (1, 1)),
        "stacked before the batch": (
            "o = Unsqueeze (a_z, i_0) q = Unsqueeze (b_z, i_0) s = Concat <axis = 0> (o, q) "
            "logits = ReduceMean <axes = [0], keepdims = 0> (s)",
            (0.5, 0.5),
        ),
        "stacked before the batch, one twice": (
            "o = Unsqueeze (a_z, i_0) q = Unsqueeze (b_z, i_0) s = Concat <axis = 0> (o, q, o) "
            "logits = ReduceSum <keepdims = 0> (s, i_0)",
            (2, 1),
        ),
        "stacked behind the batch": (
            "o = Unsqueeze (a_z, i_1) q = Unsqueeze (b_z, i_1) s = Concat <axis = 1> (o, q) "
            "logits = ReduceMean <axes = [1], keepdims = 0> (s)",
            (0.5, 0.5),
        ),
        "difference": ("logits = Sub (a_z, b_z)", (1, -1)),
        "weighted": ("s = Constant <value_float = 0.25> () u = Mul (a_z, s) logits = Add (u, b_z)", (0.25, 1)),
    }.values(),
    ids=["mean", "sum", "stacked first", "stacked first, one twice", "stacked second", "difference", "weighted"],
)
@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
def test_two_networks(joined: str, shares: tuple[float, float], last: bool, tmp_path: Path) -> None:
    given, begin = ("y", "y = Transpose <perm = [0, 3, 1, 2]> (x) ") if last else ("x", "")
    network = model(begin + branch(given, "a") + branch(given, "b", channels=8) + joined, last=last)
    classifier = opened(network, tmp_path)
    head = classifier.metadata.head
    assert (head.features, [entry.features for entry in head.further]) == ("a_f", ["b_f"])
    assert head.algebra == "piecewise linear"

    x = pictures()
    maps, bias, logits = explained(classifier, x.transpose(0, 2, 3, 1) if last else x)
    np.testing.assert_allclose(logits, plain(network, x.transpose(0, 2, 3, 1) if last else x), rtol=1e-5, atol=1e-6)
    one, other = (explained(alone(name, tmp_path, channels=c)[0], x)[:2] for name, c in (("a", 6), ("b", 8)))
    np.testing.assert_allclose(maps, shares[0] * one[0] + shares[1] * other[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, shares[0] * one[1] + shares[1] * other[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mirror", MIRROR.values(), ids=MIRROR)
def test_a_network_on_the_picture_and_its_mirror(mirror: str, tmp_path: Path) -> None:
    """Flip averaging: the mirrored branch's map is turned back."""
    network = model(branch("x", "a") + mirror + branch("m", "b", "a") + MEAN, batch=1 if "0, i_m1" in mirror else "N")
    classifier = opened(network, tmp_path)
    assert classifier.metadata.head.further[0].span == ((0, 1), (1, 0))
    x = pictures(1)
    x[..., : SIZE // 4] *= 9  # what was seen lies on the left
    maps, bias, logits = explained(classifier, x)
    single, _ = alone("a", tmp_path)
    straight, turned = explained(single, x), explained(single, np.ascontiguousarray(x[..., ::-1]))
    np.testing.assert_allclose(maps, (straight[0] + turned[0][..., ::-1]) / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(logits, plain(network, x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits, rtol=1e-4, atol=1e-5)
    size = np.abs(maps).sum((0, 1, 2))
    assert size[:2].sum() > 2 * size[-2:].sum()


def test_a_mirror_before_a_single_network(tmp_path: Path) -> None:
    classifier = opened(model(MIRROR["slice"] + branch("m", "a") + "logits = Identity (a_z)"), tmp_path)
    assert classifier.metadata.head.span == ((0, 1), (1, 0))
    x = pictures()
    maps, *_ = explained(classifier, x)
    wanted, *_ = explained(alone("a", tmp_path)[0], np.ascontiguousarray(x[..., ::-1]))
    np.testing.assert_allclose(maps, wanted[..., ::-1], rtol=1e-5, atol=1e-6)


def test_a_crop_lies_where_it_was_cut_out(tmp_path: Path) -> None:
    """The upper left quarter and the whole: maps of 4 x 4 and 8 x 8 cells, equally large on the picture."""
    crop = "i = Identity (x) c = Slice (i, i_0_0, i_16_16, i_2_3) "
    network = model(branch("x", "a") + crop + branch("c", "b") + "logits = Add (a_z, b_z)")
    classifier = opened(network, tmp_path)
    assert classifier.metadata.head.further[0].span == ((0, 0.5), (0, 0.5))
    x = pictures()
    maps, bias, logits = explained(classifier, x)
    assert maps.shape[2:] == (8, 8)
    whole, *_ = explained(alone("a", tmp_path)[0], x)
    np.testing.assert_allclose(maps[:, :, 4:], whole[:, :, 4:], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(maps[..., 4:], whole[..., 4:], rtol=1e-4, atol=1e-6)
    assert np.abs(maps - whole)[:, :, :4, :4].max() > 1e-3
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["mean of logits", "pools side by side"])
def test_maps_of_two_sizes(way: str, tmp_path: Path) -> None:
    """8 x 8 and 4 x 4 cells: each coarse one is shared out over four fine ones."""
    joined = MEAN if way == "mean of logits" else (
        f"j = Concat <axis = 1> (a_v, b_v) logits = Gemm (j, wj_14x{CLASSES}, wk_{CLASSES})"
    )  # fmt: skip
    network = model(branch("x", "a") + branch("x", "b", stride=8, channels=8) + joined)
    classifier = opened(network, tmp_path)
    x = pictures()
    maps, bias, logits = explained(classifier, x)
    assert maps.shape == (2, CLASSES, 8, 8)
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, plain(network, x), rtol=1e-5, atol=1e-6)
    if way == "mean of logits":
        fine, coarse = (explained(alone(name, tmp_path, **options)[0], x)[0] for name, options in
                        (("a", {}), ("b", {"stride": 8, "channels": 8})))  # fmt: skip
        np.testing.assert_allclose(maps, (fine + coarse.repeat(2, 2).repeat(2, 3) / 4) / 2, rtol=1e-4, atol=1e-6)


def test_two_pools_of_one_map_stay_one_map(tmp_path: Path) -> None:
    """Several maps are looked for only where no single one separates the logits from the picture."""
    body = branch("x", "a") + "q = GlobalMaxPool (a_f) u = Flatten (q) "
    body += f"j = Concat <axis = 1> (a_v, u) logits = Gemm (j, wj_12x{CLASSES}, wk_{CLASSES})"
    head = opened(model(body), tmp_path).metadata.head
    assert (head.features, head.further) == ("a_f", ())


def test_scales_of_one_backbone_share_its_finer_map(tmp_path: Path) -> None:
    """Where all behind it is understood, as much as for any other network."""
    second = "b_c = Conv <strides = [2, 2]> (a_f, wb0_6x6x2x2) b_f = Relu (b_c) b_p = GlobalAveragePool (b_f) "
    joined = f"b_v = Flatten (b_p) j = Concat <axis = 1> (a_v, b_v) logits = Gemm (j, wj_12x{CLASSES}, wk_{CLASSES})"
    network = model(branch("x", "a") + second + joined)
    head = opened(network, tmp_path).metadata.head
    assert (head.features, head.further) == ("a_f", ())


def test_scales_of_a_backbone_that_is_not_understood_are_two_maps(tmp_path: Path) -> None:
    """The later one is held while the logits are derived by the earlier: they are a function of both."""
    second = "b_d = Sin (a_f) b_c = Conv <strides = [2, 2]> (b_d, wb0_6x6x2x2) b_f = Relu (b_c) "
    joined = "b_p = GlobalAveragePool (b_f) b_v = Flatten (b_p) j = Concat <axis = 1> (a_v, b_v) "
    network = model(branch("x", "a") + second + joined + f"logits = Gemm (j, wj_12x{CLASSES}, wk_{CLASSES})")
    classifier = opened(network, tmp_path)
    assert [entry.features for entry in classifier.metadata.head.further] == ["b_f"]
    x = pictures()
    maps, bias, logits = explained(classifier, x)
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits, rtol=1e-4, atol=1e-5)
    (fine, coarse), weight = classifier.forward(x)[0], _weight(network, f"wj_12x{CLASSES}")
    wanted = np.einsum("ck,nchw->nkhw", weight[:6], fine) / 64
    wanted += np.einsum("ck,nchw->nkhw", weight[6:], coarse).repeat(2, 2).repeat(2, 3) / 16 / 4
    np.testing.assert_allclose(maps, wanted, rtol=1e-4, atol=1e-6)


def _weight(network: ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(entry for entry in network.graph.initializer if entry.name == name))


@pytest.mark.parametrize(
    "joined",
    [
        "t = Tanh (a_z) logits = Mul (t, b_z)",
        "s = Add (a_z, b_z) logits = Sigmoid (s)",
        "s = Softmax (a_z) t = Softmax (b_z) logits = Mean (s, t)",
    ],
)
def test_branches_that_are_multiplied_are_integrated_together(joined: str, tmp_path: Path) -> None:
    """SSR-Net's stages: along the path from no features at all, of both branches, the sum is the logit."""
    joined = joined.replace("logits = Sigmoid (s)", f"h = Sigmoid (s) logits = Gemm (h, wh_{CLASSES}x{CLASSES})")
    network = model(branch("x", "a") + branch("x", "b", stride=8) + joined)
    classifier = opened(network, tmp_path)
    assert (classifier.metadata.head.algebra, classifier.attribution) == ("smooth", "integrated")
    x = pictures()
    maps, bias, logits = explained(classifier, x)
    np.testing.assert_allclose(logits, plain(network, x), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits, rtol=1e-3, atol=1e-5)


REFUSED = {
    "the picture joins the head": (
        "g = GlobalAveragePool (x) i = Flatten (g) j = Concat <axis = 1> (a_v, i) logits = Gemm (j, "
        f"wj_9x{CLASSES}, wk_{CLASSES})", "a branch of the head ends at the image itself, 'i'",
    ),
    "a branch that is turned": (
        "t = Transpose <perm = [0, 1, 3, 2]> (x) " + branch("t", "b") + MEAN, "mirrored at its diagonal",
    ),
    "a branch of computed places": (
        "k = ReduceMax <keepdims = 0> (x) l = Cast <to = 7> (k) u = Unsqueeze (l, i_0) "
        "c = Slice (x, u, i_999, i_3) q = Resize <mode = \"nearest\"> (c, , , i_1_3_32_32) "
        + branch("q", "b") + MEAN, "in a way that is not understood",
    ),
    "a branch that is not understood": (
        "s = Sin (b_v) " .join([branch("x", "b"), f"r = Gemm (s, wr_6x{CLASSES}) logits = Add (a_z, r)"]),
        "that all its branches have in common",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("joined", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(joined: str, reason: str) -> None:
    body = branch("x", "a") + joined
    network = model(body, batch=1 if "q = Resize" in body else "N")
    with pytest.raises(HeadError, match=reason):
        find_head(Graph(network))


@pytest.mark.parametrize("last", [False, True])
def test_the_picture_is_no_feature_map_when_it_is_named(last: bool) -> None:
    begin = "y = Transpose <perm = [0, 3, 1, 2]> (x) " if last else "y = Sub (x, wm_1x3x1x1) "
    network = model(begin + branch("y", "a") + branch("y", "b") + MEAN, last=last)
    with pytest.raises(HeadError, match="'y' is not a feature map: it is the image itself, no weights have mixed it"):
        find_head(Graph(network), HeadQuery(features="y"))


def test_masking_takes_one_map(tmp_path: Path) -> None:
    network = model(branch("x", "a") + branch("x", "b") + MEAN)
    with pytest.raises(OptionError, match="'masking' needs one feature map; this head takes 2"):
        opened(network, tmp_path, attribution="masking")


def test_exported_and_opened_again(tmp_path: Path) -> None:
    network = model(branch("x", "a") + MIRROR["slice"] + branch("m", "b", stride=8) + MEAN)
    first = opened(network, tmp_path)
    export_model(Source(network, Preprocessing((SIZE, SIZE))), tmp_path / "explainable.onnx")
    again = open_classifier(tmp_path / "explainable.onnx", providers="cpu")
    assert again.metadata.head == first.metadata.head
    x = pictures()
    for ours, theirs in zip(explained(again, x), explained(first, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    session = onnxruntime.InferenceSession(tmp_path / "explainable.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["secam_features", "secam_features_2"], {"x": x})
    assert [array.shape for array in found] == [(2, 6, 8, 8), (2, 6, 4, 4)]


@pytest.mark.parametrize("joined", [MEAN, "t = Tanh (a_z) logits = Mul (t, b_z)"], ids=["linear", "smooth"])
@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
def test_fused(joined: str, last: bool, tmp_path: Path, chelsea: np.ndarray) -> None:
    """Its own proof compares it with the explainer; here, that what it adds up is the sum of both maps."""
    turned = "a_t = Transpose <perm = [0, 2, 3, 1]> (a_f) u = ReduceMean <axes = [1, 2], keepdims = 0> (a_t) "
    one = branch("x", "a").replace("a_p = GlobalAveragePool (a_f) a_v = Flatten (a_p) ", turned).replace("a_v", "u")
    body = (one if last else branch("x", "a")) + MIRROR["slice"] + branch("m", "b", stride=8) + joined
    onnx.save(model(body), tmp_path / "network.onnx")
    settings = Preprocessing((SIZE, SIZE))
    fuse(tmp_path / "network.onnx", tmp_path / "fused.onnx", preprocessing=settings)
    wanted = Explainer(tmp_path / "network.onnx", providers="cpu", preprocessing=settings).explain(chelsea, "all")
    found = Explainer(tmp_path / "fused.onnx", providers="cpu").explain(chelsea, "all")
    assert len(found.cam) == CLASSES
    np.testing.assert_allclose(found.cam, wanted.cam, rtol=1e-3, atol=1e-5)
    assert found.completeness_error < 1e-3


def test_metadata_with_half_a_branch_is_damaged() -> None:
    text = ModelMetadata("y", "y", "none", *_record()).to_json()
    assert ModelMetadata.from_json(text).to_json() == text
    for branches in ("", '"further": [{"features": "f", "shape": [1, 2]}]'):
        with pytest.raises(ModelError, match="damaged"):
            ModelMetadata.from_json(text.replace('"further": []', branches or '"prefix": 0'))


def _record() -> tuple[object, ...]:
    return HeadRecord("gap + fc", "f", (6, 8, 8), ("w",), (("n", "r"),)), Preprocessing((SIZE, SIZE))


@pytest.mark.parametrize(
    ("cells", "ends", "target"), [(7, (0, 1), 14), (7, (1, 0), 14), (4, (0.25, 0.75), 8), (5, (0.9, 0.1), 7)]
)
def test_a_map_that_is_spread_keeps_its_sum_and_its_place(cells: int, ends: tuple[float, float], target: int) -> None:
    matrix = spread_matrix(cells, ends, target)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=1e-6)
    middles = ends[0] + (ends[1] - ends[0]) * (np.arange(cells) + 0.5) / cells
    found = (np.arange(target) + 0.5) / target @ matrix
    np.testing.assert_allclose(found, middles, atol=0.5 / target)
    if (ends[1] - ends[0]) * target % cells == 0:
        np.testing.assert_allclose(found, middles, rtol=1e-5)


def test_the_common_grid_is_as_fine_as_the_finest() -> None:
    assert common_size([(7, 7), (14, 10)], [Span(), Span()]) == (14, 10)
    assert common_size([(7, 7)], [Span((0.0625, 0.9375), (0.9375, 0.0625))]) == (8, 8)


def test_inspect_lists_them(tmp_path: Path) -> None:
    onnx.save(model(branch("x", "a") + MIRROR["slice"] + branch("m", "b", "a") + MEAN), tmp_path / "network.onnx")
    report = inspect_model(tmp_path / "network.onnx", preprocessing=Preprocessing((SIZE, SIZE)))
    assert report["feature_map"]["why"] == "the last spatial tensor of each branch before the logits"
    (other,) = report["further_feature_maps"]
    assert (other["tensor"], other["shape"], other["part_of_the_picture"]) == ("b_f", [6, 8, 8], [[0, 1], [1, 0]])
    assert report["completeness"]["measured_now"]["max_relative_error"] < 1e-5
