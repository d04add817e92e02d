import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from secam_onnx.explanation.overlays import colour, heat_overlay, kept_overlay, map_on_image, segments_on_image
from secam_onnx.photograph.preprocessing import Geometry, Preprocessing

LIMITS = [1e-6, 1.0, 37.5]


def whole(height: int, width: int) -> Geometry:
    return Geometry((height, width), (224, 224), (0.0, 0.0, float(width), float(height)))


@pytest.mark.parametrize("limit", LIMITS)
def test_ends_of_the_colours(limit):
    blue, neutral, red = colour(np.array([-limit, 0.0, limit]), limit)
    assert np.ptp(neutral) == 0
    assert neutral[0] > 0.9
    assert red[0] > 3 * max(red[1:])
    assert blue[2] > 1.5 * max(blue[:2])


@pytest.mark.parametrize("limit", LIMITS)
def test_colours_grow_stronger_with_the_value(limit):
    shades = colour(np.linspace(-limit, limit, 101).reshape(1, 101), limit)
    assert shades.shape == (1, 101, 3)
    assert 0 <= shades.min() <= shades.max() <= 1
    green = shades[0, :, 1]
    assert (np.diff(green[:51]) > 0).all()
    assert (np.diff(green[50:]) < 0).all()
    warm = shades[0, :, 0] - shades[0, :, 2]
    assert (warm[:50] < 0).all()
    assert (warm[51:] > 0).all()


def test_values_beyond_the_limit_take_the_end_colours():
    np.testing.assert_array_equal(colour(np.array([-9.0, 9.0]), 2.0), colour(np.array([-2.0, 2.0]), 2.0))


def test_a_map_of_zeros_has_limit_zero():
    shades = colour(np.zeros((2, 3)), 0.0)
    assert np.ptp(shades) == 0
    picture = heat_overlay(np.full((2, 3, 3), 90, np.uint8), np.zeros((2, 3)), 0.0)
    assert np.ptp(picture) == 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("grey", [0, 128, 255, None])
def test_the_peak_is_drawn_in_its_end_of_the_colours(chelsea, sign, grey):
    photo = chelsea if grey is None else np.full_like(chelsea, grey)
    y, x = np.mgrid[:300, :451]
    values = sign * np.exp(-((y - 70) ** 2 + (x - 300) ** 2) / 900)
    picture = heat_overlay(photo, values, 1.0).astype(int)
    red, blue = (picture[..., channel] * sign for channel in (0, 2))
    assert picture.shape == chelsea.shape
    peak, rest = picture[70, 300], picture[280, 20]
    assert sign * (peak[0] - peak[2]) > 50
    assert max(peak[0], peak[2]) > 1.5 * min(peak[0], peak[2])
    assert abs(rest[0] - rest[2]) <= 1
    # The most coloured pixels are round the peak, nowhere else.
    strongest = np.argwhere(red - blue > 0.9 * (red - blue).max())
    assert np.hypot(*(strongest - (70, 300)).T).max() < 60


def test_weak_values_let_the_photograph_through(chelsea):
    half = heat_overlay(chelsea, np.zeros((300, 451)), 1.0).astype(float)
    grey = chelsea.mean(axis=2)
    assert np.corrcoef(half[..., 0].ravel(), grey.ravel())[0, 1] > 0.99
    full = heat_overlay(chelsea, np.ones((300, 451)), 1.0).astype(float)
    assert full[..., 0].std() < 0.3 * half[..., 0].std()


def test_kept_pixels_are_the_photographs_and_others_are_dark(chelsea):
    segments = np.add.outer(np.arange(300) // 60 * 5, np.arange(451) // 91).astype(np.int32)
    keep = np.random.default_rng(0).random(25) < 0.4
    picture = kept_overlay(chelsea, segments, keep)
    shown = keep[segments]
    assert 0 < shown.mean() < 1
    np.testing.assert_array_equal(picture[shown], chelsea[shown])
    dark, original = picture[~shown].astype(float), chelsea[~shown]
    assert (dark <= 0.25 * original + 1).all()
    assert dark.max() > 10  # dark, yet not gone


def test_every_value_of_a_kept_pixel_survives_exactly():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.stack([ramp, ramp[::-1], ramp.T], axis=-1)
    np.testing.assert_array_equal(kept_overlay(image, np.zeros((16, 16), int), np.array([True])), image)


@pytest.mark.parametrize("draw", ["kept", "heat"])
def test_what_the_model_did_not_see_looks_different(chelsea, draw):
    geometry = Preprocessing((224, 224), 256).crop(chelsea)[1]
    segments = segments_on_image(np.zeros((224, 224), np.int32), geometry)
    seen = segments == 0
    assert set(np.unique(segments)) == {-1, 0}
    assert seen.mean() == pytest.approx((300 * 0.875) ** 2 / (300 * 451), abs=0.01)
    if draw == "kept":
        picture = kept_overlay(chelsea, segments, np.array([True]))
        np.testing.assert_array_equal(picture[seen], chelsea[seen])
    else:
        picture = heat_overlay(chelsea, np.where(seen, 1.0, np.nan), 1.0)
        assert np.abs(picture[seen].astype(int) - picture[~seen].astype(int).mean(axis=0)).mean() > 40
    outside = picture[~seen].astype(int)
    assert np.ptp(outside, axis=1).max() == 0  # no colour
    assert outside.mean() > chelsea[~seen].mean() + 20  # pale
    # On a plain picture there are three greys: the ground, the hatching, and the frame around what was seen.
    flat = kept_overlay(np.full_like(chelsea, 100), segments, np.array([True]))
    assert len(np.unique(flat[~seen])) == 3
    rows, columns = np.nonzero(seen)
    frame = flat[rows.min() - 1, columns.min() : columns.max() + 1]
    assert (frame == flat[~seen].min()).all()


@pytest.mark.parametrize(
    ("map_size", "size"), [((7, 7), (300, 451)), ((8, 5), (97, 33)), ((1, 1), (6, 9)), ((9, 14), (5, 8))]
)
def test_map_on_the_whole_image_is_torchs_interpolation(map_size, size):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).standard_normal(map_size).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], size=size, mode="bilinear", align_corners=False
    )[0, 0]
    on_image = map_on_image(values, whole(*size))
    assert on_image.dtype == np.float32
    np.testing.assert_allclose(on_image, expected.numpy(), rtol=0, atol=2e-5)


def test_map_on_a_crop_closed_form():
    box = (20.25, 8.5, 60.75, 50.0)
    values = np.random.default_rng(0).standard_normal((7, 4))
    on_image = map_on_image(values, Geometry((64, 90), (224, 224), box))
    left, top, right, bottom = box
    for y, x in np.ndindex(64, 90):
        inside = left <= x + 0.5 < right and top <= y + 0.5 < bottom
        if not inside:
            assert np.isnan(on_image[y, x])
            continue
        row = (y + 0.5 - top) / (bottom - top) * 7 - 0.5
        column = (x + 0.5 - left) / (right - left) * 4 - 0.5
        along = [np.interp(column, range(4), line) for line in values]
        assert on_image[y, x] == pytest.approx(np.interp(row, range(7), along), abs=1e-5)


@given(st.integers(4, 400), st.integers(4, 400), st.sampled_from([(5, 6), (8, 10), (224, 256), (299, 342)]))
@example(34, 22, (7, 8))
def test_map_and_superpixels_cover_the_same_pixels(height, width, sizes):
    edge, resize_to = sizes
    preprocessing = Preprocessing((edge, max(1, edge - 2)), resize_to)
    geometry = preprocessing.crop(np.zeros((height, width, 3), np.uint8))[1]
    segments = segments_on_image(np.zeros(geometry.input_size, np.int32), geometry)
    np.testing.assert_array_equal(np.isnan(map_on_image(np.zeros((3, 3)), geometry)), segments < 0)
