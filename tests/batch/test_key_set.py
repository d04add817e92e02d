"""Keys that were met, in a few bytes each."""

from __future__ import annotations

import random

import pytest

from secam_onnx.batch import key_set
from secam_onnx.batch.key_set import KeySet


def test_it_is_a_set_of_strings() -> None:
    met, reference = KeySet(), set()
    numbers = random.Random(0)
    for _ in range(20_000):
        key = f"photos/{numbers.randrange(12_000)}.jpg"
        assert (key in met) == (key in reference)
        assert met.add(key) == (key not in reference)
        reference.add(key)
    assert len(met) == len(reference)
    assert all(key in met for key in reference)
    assert "photos/12000.jpg" not in met


def test_it_takes_few_bytes_however_long_the_strings_are() -> None:
    met = KeySet()
    for number in range(50_000):
        met.add("long" * 50 + str(number))
    assert met._table.itemsize * len(met._table) <= 32 * 50_000


def test_any_string_and_any_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    met = KeySet()
    for key in ("", "caf\udce9.png", "猫"):
        assert met.add(key)
        assert not met.add(key)
    # Digests of one place, and the digest that stands for a free place.
    monkeypatch.setattr(key_set, "_digest", lambda key: int(key) << 40 or 1)
    met = KeySet()
    assert [met.add(str(number)) for number in range(600)] == [True] * 600
    assert all(str(number) in met for number in range(600))
    assert "600" not in met
