import numpy as np
import pytest
from PIL import Image

from secam_onnx.explanation.panel import compose, drawable

SHAPES = [(300, 451), (400, 100), (100, 400), (4, 4), (200, 4), (4, 200), (2000, 3000)]
RED = (200, 0, 0)


def panel(shape=(300, 451), title="tabby", subtitle="logit +8.1", captions=("kept",), limit=12.3, unit="logit"):
    tiles = [(caption, np.full((*shape, 3), RED, np.uint8)) for caption in captions]
    return np.asarray(compose(title, subtitle, tiles, limit, unit)).astype(int)


def changed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two panels differ: where the words that set them apart are written."""
    assert one.shape == other.shape
    return (one != other).any(axis=2)


def is_red(picture: np.ndarray) -> np.ndarray:
    return (picture == RED).all(axis=2)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_title_is_drawn_above_the_pictures(shape):
    with_title, without = panel(shape), panel(shape, title="")
    rows = np.flatnonzero(changed(with_title, without).any(axis=1))
    assert rows.size > 8
    assert rows.max() < np.flatnonzero(is_red(without).any(axis=1)).min()


def test_different_classes_give_different_panels():
    assert changed(panel(title="tabby"), panel(title="tiger cat")).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_tile_is_drawn_whole_and_in_proportion(shape):
    for count in (1, 3):
        red = is_red(panel(shape, captions=("a",) * count))
        rows, columns = (np.flatnonzero(red.any(axis=axis)) for axis in (1, 0))
        height, width = np.ptp(rows) + 1, columns.size / count
        assert max(height, width) == 420
        assert height / width == pytest.approx(shape[0] / shape[1], rel=0.1)
        assert red.sum() == height * width * count
        assert (np.diff(columns) > 1).sum() == count - 1  # gaps between them


def test_wider_by_the_same_step_with_each_tile():
    widths = [panel(captions=("a",) * count).shape[1] for count in (1, 2, 3, 4)]
    steps = np.diff(widths)
    assert steps.min() == steps.max() > 420
    assert len({panel(captions=("a",) * count).shape[0] for count in (1, 3)}) == 1


@pytest.mark.parametrize("shape", [(300, 451), (451, 100), (4, 4)])
@pytest.mark.parametrize("title", ["wombat " * 60, "W" * 300, "語" * 200])
def test_a_very_long_title_fits(shape, title):
    short, long = panel(shape), panel(shape, title=title)
    columns = np.flatnonzero(changed(long, panel(shape, title="")).any(axis=0))
    assert short.shape == long.shape
    assert columns.max() < long.shape[1] - 8


def test_a_title_of_two_lines_stays_off_the_subtitle():
    words = changed(panel(title="ab\ncd", subtitle=""), panel(title="", subtitle=""))
    numbers = changed(panel(title="", subtitle="logit +8.1"), panel(title="", subtitle=""))
    assert words.any()
    assert numbers.any()
    assert not (words.any(axis=1) & numbers.any(axis=1)).any()


SUBTITLE = "probability 0.873   logit +12.34 = kept +9.20 + rest +2.00 + bias +1.14"


def ink(picture: np.ndarray) -> int:
    return int((255 - picture).sum())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("words", [{"subtitle": SUBTITLE}, {"unit": "logit per cell"}])
def test_words_are_drawn_whole_and_on_white(shape, words):
    # Words that are cut, or that run into others, leave less ink than on a large panel.
    def drawn(shape: tuple[int, int], count: int) -> int:
        blank = {"title": "", "subtitle": "", "unit": "", "captions": ("",) * count}
        return ink(panel(shape, **{**blank, **words})) - ink(panel(shape, **blank))

    assert drawn(shape, 1) == drawn((300, 451), 3) > 0


@pytest.mark.parametrize("shape", [*SHAPES, (50, 400)])
def test_words_at_the_colour_bar_do_not_run_into_each_other(shape):
    def drawn(shape: tuple[int, int]) -> int:
        picture = panel(shape, title="", subtitle="", unit="", captions=("",))
        right_of_tile = np.flatnonzero(is_red(picture).any(axis=0)).max() + 1
        beyond_the_bar = max(right_of_tile, 16 + 250) + 16 + 14  # a narrow tile leaves its caption room
        return ink(picture[:, beyond_the_bar:])

    assert drawn(shape) == drawn((300, 451)) > 0


def test_the_colour_bar_runs_from_red_over_white_to_blue():
    picture = panel((300, 451), captions=("a",))
    red = is_red(picture)
    rows, right = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0)).max()
    bar = picture[rows.min() : rows.max() + 1, right + 16 + 5].astype(int)
    warm = bar[2:-2, 0] - bar[2:-2, 2]
    half = len(warm) // 2
    assert (warm[: half - 5] > 0).all()
    assert (warm[half + 5 :] < 0).all()
    assert bar[len(bar) // 2].min() > 230


@pytest.mark.parametrize("limit", [0.0, 1e-7, 1e9])
def test_any_limit_can_be_drawn(limit):
    assert panel(limit=limit).shape[2] == 3


def test_a_panel_is_an_ordinary_rgb_image():
    image = compose("tabby", "", [("kept", np.zeros((30, 40, 3), np.uint8))], 1.0, "logit")
    assert isinstance(image, Image.Image)
    assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("tiger cat", "tiger cat"), ("Bär, écureuil", "Bar, ecureuil"), ("Straße", "Strasse"), ("猫 cat\n", r"? cat\n")],
)
def test_names_are_drawn_in_letters_that_the_font_has(name, drawn):
    assert drawable(name) == drawn
    np.testing.assert_array_equal(np.asarray(panel(title=name)), np.asarray(panel(title=drawn)))
