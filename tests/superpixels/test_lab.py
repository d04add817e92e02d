import numpy as np
import pytest
from plain_kmeans import package_lab
from skimage.color import rgb2lab


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    """A grid through sRGB with its corners, `(140608, 3)`."""
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)


def errors(colours: np.ndarray) -> np.ndarray:
    """L, a, b minus scikit-image's, less what they all have in common: distances need no more."""
    difference = package_lab(colours) - rgb2lab(colours)
    return difference - difference.mean(axis=0)


def test_as_near_to_the_exact_colour_as_promised(colours):
    distance = np.linalg.norm(errors(colours), axis=1)
    assert distance.max() < 0.7
    assert distance.mean() < 0.3


def test_a_and_b_have_no_constant_of_their_own(colours):
    assert abs((package_lab(colours) - rgb2lab(colours)).mean(axis=0)[1:]).max() < 0.02


def test_greys_have_no_colour_and_rise():
    greys = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    lab = package_lab(greys)
    assert abs(lab[:, 1:]).max() < 0.01
    assert (np.diff(lab[:, 0]) > 0).all()
    assert abs(errors(greys)[:, 0]).max() < 0.3


def test_distances_of_random_pairs():
    one, other = np.random.default_rng(0).integers(0, 256, (2, 20_000, 3), dtype=np.uint8)
    found = np.linalg.norm(package_lab(one) - package_lab(other), axis=1)
    exact = np.linalg.norm(rgb2lab(one) - rgb2lab(other), axis=1)
    assert abs(found - exact).max() < 1.4  # both ends may be 0.7 away
    assert abs(found - exact).mean() < 0.3


def test_any_shape_and_nothing_but_float32():
    colours = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8)
    whole = package_lab(colours)
    assert whole.shape == colours.shape
    np.testing.assert_allclose(whole[1, 2, 3], package_lab(colours[1, 2, 3]), atol=1e-4)
