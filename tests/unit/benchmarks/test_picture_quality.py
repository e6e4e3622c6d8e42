"""The benchmark of poor pictures, on random pictures and vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import folder_of_classes, write_pictures
from PIL import Image

from benchmarks import picture_quality
from benchmarks.options import Options


def test_halves_share_no_class(tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "classes", "abcde", 3)
    first, second = picture_quality.halves(tmp_path / "classes")
    assert sorted({Path(path).parent.name for path in first}) == ["a", "b"]
    assert sorted({Path(path).parent.name for path in second}) == ["c", "d", "e"]
    assert len(first) + len(second) == 15
    write_pictures(tmp_path / "single", [f"{number}.png" for number in range(5)])
    assert [len(part) for part in picture_quality.halves(tmp_path / "single")] == [2, 3]


@pytest.mark.parametrize(("size", "length"), [(28, 14), (7, 28)])
def test_motion_is_a_mean_along_rows(size: int, length: int) -> None:
    pixels = np.zeros((14, 60, 3), np.uint8)
    pixels[:, 30] = 252
    moved = np.asarray(picture_quality.motion(Image.fromarray(pixels), size))
    expected = np.zeros(60)
    expected[30 : 30 + length] = 252 / length
    np.testing.assert_array_equal(moved, np.broadcast_to(expected.round()[None, :, None], moved.shape))


def test_blurred_pictures_of_no_use_lose_by_their_share() -> None:
    generator = np.random.default_rng(3)
    codes = np.repeat(np.arange(8), 20)
    good = np.eye(8)[codes] + 0.01 * generator.normal(size=(160, 8))
    vectors = [good, np.roll(good, 20, axis=0)]  # blurred, each looks as another product
    sharpness = (np.full(160, 0.6), np.full(160, 0.1))
    found = dict(picture_quality.draw(vectors, sharpness, codes, np.arange(8), generator))
    assert list(found) == ["as they are", "refused", "weighted"]
    assert found["refused"] == found["weighted"] == (1.0, 0.0)
    assert found["as they are"][1] > 0.0


def test_without_the_pictures_it_says_what_is_missing(tmp_path: Path) -> None:
    (table,) = picture_quality.run(Options(data_dir=tmp_path))
    assert "it needs open/groceries, open/lfw-people, " in table.notes[0]


def test_all_sets_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_quality, "find_weights", lambda *_: None)
    for place in picture_quality.SETS.values():
        write_pictures(tmp_path / place, [f"{name}/{number}.png" for name in "ab" for number in range(2)], (28, 28))
    (table,) = picture_quality.run(Options(data_dir=tmp_path, quick=True))
    assert [row["arm"] for row in table.rows[:2]] == ["groceries, chosen on", "groceries, checked on"]
    for row in table.rows:
        assert (row["as it is"], row["dark"], row["flat"], row["tiny"]) == (0, 1, 1, 1)
