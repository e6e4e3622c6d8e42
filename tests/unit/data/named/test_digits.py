from __future__ import annotations

import sys

import pytest

from pairsim.data import load_data
from pairsim.errors import DataError, MissingExtraError


def test_digits_are_split_by_image_once_and_for_all() -> None:
    train, test = load_data("digits", "train"), load_data("digits", "test")
    assert (len(train.dataset), len(test.dataset)) == (1438, 359)
    assert train.image_size == (16, 16)
    assert test.class_names == tuple("0123456789")
    assert (load_data("digits", "test").dataset.images == test.dataset.images).all()
    rows = {image.numpy().tobytes() for image in train.dataset.images}
    # no test image is a training image
    assert sum(image.numpy().tobytes() in rows for image in test.dataset.images) == 0
    with pytest.raises(DataError, match="has no validation split of its own"):
        load_data("digits", "val")


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"The dataset digits needs .* pip install 'pairsim\[digits\]'"):
        load_data("digits", "train")
