import numpy as np
import onnx
import pytest
from plain_kmeans import package_lab, plain_kmeans
from scipy.ndimage import label as components_of
from skimage.color import rgb2lab
from skimage.segmentation import slic

from secam_onnx import runtime
from secam_onnx.superpixels import Segmenter, dense_label_map, segment
from secam_onnx.superpixels.cells import Cells
from secam_onnx.superpixels.kmeans import kmeans_model

SIZES = [(224, 224), (299, 299), (150, 211), (37, 100)]


def cells_of(size: tuple[int, int], segments: int = 50) -> tuple[Cells, np.ndarray]:
    """The layout, and the cell of each pixel."""
    cells = Cells.fitted(size, segments, 8)
    y = (np.arange(size[0]) + cells.down.before) // cells.down.edge
    x = (np.arange(size[1]) + cells.across.before) // cells.across.edge
    return cells, y[:, None] * cells.across.cells + x


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Share of pixels that agree when each superpixel of `one` is given the number that most of it has in `other`."""
    table = np.zeros((one.max() + 1, other.max() + 1), int)
    np.add.at(table, (one, other), 1)
    return float((table.argmax(axis=1)[one] == other).mean())


def explained_variation(labels: np.ndarray, picture: np.ndarray) -> float:
    colours = picture.reshape(-1, 3).astype(float)
    means = np.array([colours[labels.ravel() == k].mean(axis=0) for k in range(labels.max() + 1)])
    return float(means[labels.ravel()].var(axis=0).sum() / colours.var(axis=0).sum())


@pytest.mark.parametrize(
    ("size", "segments"),
    [((224, 224), 50), ((299, 299), 1), ((37, 100), (3, 4)), ((4, 4), 10_000), ((5, 200), 50), ((64, 64), 1000)],
)
def test_the_checker_accepts_the_model_and_knows_all_shapes(size, segments):
    model = kmeans_model(size, segments)
    onnx.checker.check_model(model, full_check=True)
    (image,), (labels,) = model.graph.input, model.graph.output
    kinds = [(value.name, value.type.tensor_type.elem_type) for value in (image, labels)]
    assert kinds == [("image", onnx.TensorProto.UINT8), ("segments", onnx.TensorProto.INT32)]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shape = inferred.graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in shape][1:] == list(size)


@pytest.mark.parametrize("size", SIZES)
def test_the_same_as_plainly_on_photographs(photograph, size):
    # float32 against float64: a pixel may lie so nearly in the middle that rounding decides. So nearly does hardly any,
    # which is also why all engines give the same labels.
    picture = photograph(size)
    found, expected = segment(picture, Segmenter()), plain_kmeans(package_lab(picture))
    assert (found == expected).mean() >= 0.9999 - 4 / found.size


def test_nearly_the_same_with_exact_colours_and_exact_components(photograph):
    # The polynomials of the colour move a few boundaries, and a superpixel may be followed further than the nodes do.
    picture = photograph((224, 224))
    exact = plain_kmeans(rgb2lab(picture), rounds=None)
    assert (segment(picture, Segmenter()) == exact).mean() > 0.94


@pytest.mark.parametrize(("segments", "compactness"), [(12, 15.0), (90, 15.0), (50, 3.0), (50, 60.0), ((5, 9), 15.0)])
def test_other_settings_reach_the_model(chelsea, segments, compactness):
    picture = np.ascontiguousarray(chelsea[60:220, 100:300])
    session = runtime.open_session(
        kmeans_model(picture.shape[:2], segments, compactness=compactness).SerializeToString(), "cpu"
    )
    (found,) = session.run(None, {"image": picture[None]})
    assert (found[0] == plain_kmeans(package_lab(picture), segments, compactness)).mean() > 0.99


@pytest.mark.parametrize("size", [*SIZES, (4, 4), (8, 8), (5, 200), (451, 300), (240, 320)])
def test_flat_blocks_of_colour_on_the_cells_are_the_superpixels(size):
    cells, home = cells_of(size)
    y, x = np.divmod(home, cells.across.cells)
    picture = np.uint8([[0, 0, 0], [250, 30, 20], [30, 220, 60], [60, 80, 250]])[y % 2 * 2 + x % 2]
    np.testing.assert_array_equal(segment(picture, Segmenter()), home)


@pytest.mark.parametrize("size", [*SIZES, (5, 200), (240, 320)])
@pytest.mark.parametrize("part", [0.31, 0.5, 0.77])
def test_no_superpixel_lies_across_two_halves(size, part):
    picture = np.zeros((*size, 3), np.uint8)
    picture[:, round(part * size[1]) :] = (230, 200, 40)
    labels = segment(picture, Segmenter())
    right = picture[..., 0] > 0
    assert not set(labels[right]) & set(labels[~right])


@pytest.mark.parametrize(
    ("size", "segments"), [((224, 224), 50), ((5, 200), 50), ((4, 4), 50), ((160, 96), 60), ((160, 96), 1)]
)
def test_a_grey_picture_gives_the_grid_where_cells_fit(size, segments):
    cells, home = cells_of(size, segments)
    assert cells.inside.all()
    for grey in (0, 127, 255):
        labels = segment(np.full((*size, 3), grey, np.uint8), Segmenter(n_segments=segments))
        np.testing.assert_array_equal(labels, home)


@pytest.mark.parametrize("size", [(299, 299), (37, 100), (451, 300), (512, 512)])
def test_a_grey_picture_gives_about_the_grid_where_they_stick_out(size):
    # The middles of cells that are partly outside lie further inside, and boundaries with them.
    cells, home = cells_of(size)
    assert not cells.inside.all()
    labels = segment(np.full((*size, 3), 127, np.uint8), Segmenter())
    assert labels.max() + 1 == cells.count
    assert (labels == home).mean() > 0.9


@pytest.mark.parametrize("size", [(4, 4), (4, 9), (5, 200), (37, 100), (100, 37), (65, 64), (31, 600)])
@pytest.mark.parametrize("segments", [1, 7, 50, 10_000])
def test_any_size_and_count(size, segments):
    cells, home = cells_of(size, segments)
    assert cells.count <= 1.5 * segments
    labels = segment(noise(size), Segmenter(n_segments=segments))
    assert (labels.shape, labels.dtype) == (size, np.int32)
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert labels.max() < cells.count
    if labels.max() + 1 == cells.count:  # a pixel belongs to one of the nine around it
        assert (cells.neighbours[home] == labels[..., None]).any(axis=2).all()


def test_one_superpixel_and_one_for_each_pixel():
    assert not segment(noise((40, 30)), Segmenter(n_segments=1)).any()
    np.testing.assert_array_equal(segment(noise((8, 9)), Segmenter(n_segments=72)).ravel(), np.arange(72))


def test_labels_are_dense_from_the_model_itself(photograph):
    # Small cells on a photograph: some superpixels lose all their pixels.
    picture = photograph((96, 96))
    model = kmeans_model((96, 96), 1500, compactness=1.0)
    (labels,) = runtime.open_session(model.SerializeToString(), "cpu").run(None, {"image": picture[None]})
    assert labels.max() + 1 < Cells.fitted((96, 96), 1500, 8).count
    np.testing.assert_array_equal(labels[0], dense_label_map(labels[0]))


@pytest.mark.parametrize("size", [(224, 224), (150, 211), (5, 200)])
def test_a_batch_is_each_picture_by_itself(photograph, size):
    pictures = np.stack([photograph(size), noise(size), photograph(size)[:, ::-1], np.zeros((*size, 3), np.uint8)])
    model = runtime.open_session(kmeans_model(size).SerializeToString(), "cpu")
    (together,) = model.run(None, {"image": pictures})
    for labels, picture in zip(together, pictures, strict=True):
        np.testing.assert_array_equal(labels, segment(picture, Segmenter()))


@pytest.mark.parametrize("size", [(224, 224), (299, 299)])
def test_threads_change_nothing(photograph, size):
    ort = runtime.load()
    model, found = kmeans_model(size).SerializeToString(), []
    for threads in (1, 2):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"image": np.stack([photograph(size), noise(size)])})[0])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("size", [(224, 224), (299, 299)])
def test_a_mirrored_picture_has_mirrored_superpixels(photograph, size):
    # Nothing is nearer to one edge than to the other, what sticks out least of all; ties go to the upper left.
    picture, cells = photograph(size), cells_of(size)[0]
    assert (cells.down.before, cells.across.before) == (cells.down.after, cells.across.after)
    labels = segment(picture, Segmenter())
    for way in (np.fliplr, np.flipud):
        mirrored = way(segment(np.ascontiguousarray(way(picture)), Segmenter()))
        assert agreement(labels, mirrored) > 0.98


@pytest.mark.parametrize(("size", "block"), [((224, 224), 4 * 4), ((299, 299), 5 * 5)])
def test_stray_pieces_are_small(photograph, size, block):
    # Measured: 0.1 to 2.3 % of the area, the largest 0.6 to 8.5 blocks.
    labels = segment(photograph(size), Segmenter())
    pieces = [np.sort(np.bincount(components_of(labels == k)[0].ravel())[1:]) for k in range(labels.max() + 1)]
    stray = np.concatenate([sizes[:-1] for sizes in pieces])
    assert stray.sum() < 0.025 * labels.size
    assert stray.max() <= 12 * block


def test_colours_are_as_even_as_with_scikit_image(photographs):
    """Mean of the explained variation over photographs, at the same true number or a higher one for SLIC."""
    own, theirs = [], []
    for photograph in photographs.values():
        picture = photograph((224, 224))
        labels = segment(picture, Segmenter())
        asked = labels.max() + 1
        while True:
            other = dense_label_map(slic(picture, n_segments=asked, compactness=10, sigma=1, start_label=0))
            if other.max() >= labels.max():
                break
            asked += 2
        own.append(explained_variation(labels, picture))
        theirs.append(explained_variation(other, picture))
    assert np.mean(own) > np.mean(theirs)
