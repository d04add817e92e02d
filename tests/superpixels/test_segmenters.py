import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.segmentation import slic

from secam_onnx.errors import OptionError
from secam_onnx.superpixels import SEGMENTERS, Segmenter, dense_label_map, segment


@pytest.fixture(scope="module")
def face(chelsea) -> np.ndarray:
    """A part of the photograph with much to see, (160, 200)."""
    return np.ascontiguousarray(chelsea[60:220, 100:300])


def assert_dense(labels: np.ndarray, shape: tuple[int, ...]) -> None:
    assert labels.shape == shape
    assert labels.dtype == np.int32
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))


def same_cut(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal up to renumbering: labels pair up one to one."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1).shape[1]
    return pairs == len(np.unique(one)) == len(np.unique(other))


@pytest.mark.parametrize("method", SEGMENTERS)
@pytest.mark.parametrize("wanted", [25, 50, 100])
def test_dense_and_about_as_many_as_asked(face, method, wanted):
    labels = segment(face, Segmenter(method, wanted))
    assert_dense(labels, face.shape[:2])
    slack = 3 if method == "felzenszwalb" else 2  # its setting bounds the size from below only
    assert wanted / slack <= labels.max() + 1 <= wanted * slack


@pytest.mark.parametrize("method", SEGMENTERS)
def test_the_same_each_time(face, method):
    image = face[:60, :60]
    np.testing.assert_array_equal(segment(image, Segmenter(method)), segment(image.copy(), Segmenter(method)))


@pytest.mark.parametrize("method", SEGMENTERS)
@pytest.mark.parametrize("shape", [(4, 4), (4, 60), (60, 4), (5, 7)])
@pytest.mark.parametrize("wanted", [1, 50])
def test_tiny_and_thin_images(method, shape, wanted):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert_dense(segment(noise, Segmenter(method, wanted)), shape)


@pytest.mark.parametrize("method", SEGMENTERS)
def test_constant_images(method):
    # How many is the algorithm's business here; one is right as well.
    assert_dense(segment(np.full((30, 40, 3), 128, np.uint8), Segmenter(method)), (30, 40))


@pytest.mark.parametrize(("wanted", "compactness"), [(50, 10.0), (20, 30.0), (120, 1.0)])
def test_slic_is_scikit_images(face, wanted, compactness):
    labels = segment(face, Segmenter("slic", wanted, compactness))
    assert same_cut(labels, slic(face, n_segments=wanted, compactness=compactness, sigma=1))


@pytest.mark.parametrize("method", [method for method in SEGMENTERS if method != "grid"])
def test_boundaries_follow_the_picture(method):
    # Two flat halves that meet off the middle: no superpixel may lie across.
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    image[:, 23:] = (230, 200, 40)
    labels = segment(image, Segmenter(method, 12))
    across = set(labels[:, :22].ravel()) & set(labels[:, 24:].ravel())
    assert not across


@pytest.mark.parametrize(
    ("shape", "wanted", "rows", "columns"),
    [((60, 60), 9, 3, 3), ((50, 100), 8, 2, 4), ((100, 50), 8, 4, 2), ((61, 59), 49, 7, 7), ((4, 4), 50, 4, 4)],
)
def test_grid_closed_form(shape, wanted, rows, columns):
    labels = segment(np.zeros((*shape, 3), np.uint8), Segmenter("grid", wanted))
    y, x = np.mgrid[: shape[0], : shape[1]]
    np.testing.assert_array_equal(labels, y * rows // shape[0] * columns + x * columns // shape[1])
    areas = np.bincount(labels.ravel())
    assert len(areas) == rows * columns
    assert areas.min() >= (shape[0] // rows) * (shape[1] // columns)


def raggedness(labels: np.ndarray) -> float:
    """Length of all boundaries, over the root of the count, to which it grows when shapes stay the same."""
    length = (labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum()
    return float(length / np.sqrt(labels.max() + 1))


@pytest.mark.parametrize(
    ("method", "weights"),
    [("kmeans", (1.0, 20.0, 40.0)), ("slic", (1.0, 10.0, 18.0)), ("quickshift", (1.0, 10.0, 18.0))],
)
def test_more_compactness_means_rounder(face, method, weights):
    ragged, middle, compact = (raggedness(segment(face, Segmenter(method, 50, weight))) for weight in weights)
    assert ragged > 1.1 * middle > 1.2 * compact


@pytest.mark.parametrize("method", ["kmeans", "slic", "quickshift"])
def test_compact_superpixels_still_look_at_the_picture(face, method):
    settings = Segmenter(method, 50, 40.0)
    mirrored = np.ascontiguousarray(face[:, ::-1])
    assert not same_cut(segment(face, settings), segment(mirrored, settings))


def test_the_default_is_kmeans_and_each_method_has_its_compactness():
    assert Segmenter() == Segmenter("kmeans", 50, 15.0)
    for method in SEGMENTERS:
        assert Segmenter(method).compactness == (15.0 if method == "kmeans" else 10.0)
        assert Segmenter(method, compactness=None) == Segmenter(method)
        assert Segmenter(method, compactness=7.0).compactness == 7.0
        assert dataclasses.replace(Segmenter(method), n_segments=20).compactness == Segmenter(method).compactness


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "watershed"},
            "Unknown segmenter 'watershed'; choose from kmeans, slic, felzenszwalb, quickshift, grid",
        ),
        ({"n_segments": 0}, "n_segments is 0; 1 to 10000"),
        ({"n_segments": 10_001}, "n_segments is 10001"),
        ({"compactness": 0.0}, "compactness is 0.0; 0.001 to 10000"),
        ({"compactness": float("nan")}, "compactness is nan"),
        ({"compactness": 1e5}, "compactness is 100000.0"),
    ],
    ids=str,
)
def test_wrong_settings(settings, message):
    with pytest.raises(OptionError, match=message):
        Segmenter(**settings)


INTEGERS = hnp.integer_dtypes(endianness="=") | hnp.unsigned_integer_dtypes(endianness="=") | st.just(np.dtype(bool))


@given(hnp.arrays(INTEGERS, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)))
def test_dense_labels_renumber_in_order_and_change_nothing_else(labels):
    dense = dense_label_map(labels)
    assert_dense(dense, labels.shape)
    np.testing.assert_array_equal(np.unique(labels)[dense], labels)
    np.testing.assert_array_equal(dense_label_map(dense), dense)


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 2, 2), int), np.zeros(4, int), np.zeros((0, 4), int), np.zeros((4, 4)), [["a", "b"]]]
)
def test_what_is_no_label_map(labels):
    with pytest.raises(OptionError, match=r"The label map has shape .* \(H, W\) integers were expected"):
        dense_label_map(labels)
