from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pairsim._common.choices import Split
from pairsim.data import ImageTensors, load_data
from pairsim.data.splits import hold_out_test
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


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255.0 / 16.0)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    expected = ImageTensors(torch.from_numpy(pixels), bunch.target)
    splits: tuple[Split, Split] = ("train", "test")
    for split in splits:
        found, part = load_data("digits", split), hold_out_test(expected, split)
        assert found.dataset.images.dtype == torch.uint8
        assert torch.equal(found.dataset.images, part.images)
        assert found.targets.dtype == part.targets.dtype == np.int64
        assert np.array_equal(found.targets, part.targets)


def test_scikit_learn_is_not_imported() -> None:
    code = (
        "import sys; from pairsim.data import load_data; load_data('digits', 'train'); print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    said = (
        "The dataset digits needs the package sklearn, which is not installed. "
        "Install it with: pip install 'pairsim[digits]'"
    )
    with pytest.raises(MissingExtraError) as caught:
        load_data("digits", "train")
    assert str(caught.value) == said


@pytest.mark.parametrize("content", [None, b"no digits"])
def test_digits_with_a_broken_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    folder = tmp_path / "sklearn" / "datasets" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "sklearn" / "__init__.py").touch()
    if content is not None:
        (folder / "digits.csv.gz").write_bytes(content)
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        DataError, match=r"^Expected the digits of scikit-learn in .*digits\.csv\.gz, but: .*Reinstall"
    ) as caught:
        load_data("digits", "train")
    assert "\n" not in str(caught.value)
