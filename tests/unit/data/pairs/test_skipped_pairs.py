from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairsim import PairDataset
from pairsim.data.pairs.pair_files import read_folds
from pairsim.data.pairs.skipped_pairs import check_exist, skip_pairs
from pairsim.errors import DataError, ImageReadError


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures, one that is cut off, and one that is missing."""
    for name in ("a", "b", "c", "cut"):
        Image.fromarray(np.full((6, 5), ord(name[0]), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:40])
    return tmp_path


ROWS = ["a,b,1,x,0", "a,gone,0,y,1", "b,c,0,z,1", "cut,gone,1,x,2", "c,cut,0,y,3", "a,c,0,w,4"]


def write(folder: Path, rows: list[str]) -> Path:
    lines = [",".join([f"{one}.png", f"{two}.png", *rest]) for one, two, *rest in (row.split(",") for row in rows)]
    (folder / "pairs.csv").write_text("\n".join(["first,second,target,group,fold", *lines]) + "\n")
    return folder / "pairs.csv"


def test_every_column_keeps_its_pairs(pictures: Path) -> None:
    file = write(pictures, ROWS)
    pairs = PairDataset.from_csv(file, channels=1, on_error="skip")
    skipped = pairs.skipped
    assert skipped is not None
    assert skipped.kept.tolist() == [0, 2, 5]
    names = [Path(path).stem for path in pairs.dataset.paths]
    listed = pairs.all_pairs()
    assert [names[k] for k in listed.first] == ["a", "b", "a"]
    assert [names[k] for k in listed.second] == ["b", "c", "c"]
    assert listed.target.tolist() == [1, 0, 0]
    assert pairs.group is not None
    assert pairs.group.tolist() == ["x", "z", "w"]
    folds = read_folds(file)
    assert folds is not None
    assert skipped.of_kept(folds) == [0, 1, 4]
    assert {Path(name).stem: reason for name, reason in skipped.pictures.items()}["gone"] == "there is no such file"
    assert (skipped.num_pictures, skipped.failed_pairs) == (5, (2, 1))
    assert skipped.num_skipped == skipped.to_dict()["num_skipped"] == 3
    assert [Path(one["file"]).name for one in skipped.to_dict()["skipped"]] == ["gone.png", "cut.png"]
    assert str(skipped).startswith("3 of 6 pairs skipped, as 2 pictures (")
    assert str(skipped).endswith("cut.png) are missing or cannot be read.")


def test_one_of_each_is_in_the_singular(pictures: Path) -> None:
    skipped = skip_pairs(
        [(f"{pictures}/a.png", f"{pictures}/b.png"), (f"{pictures}/a.png", f"{pictures}/gone.png")], [1, 0]
    )
    assert str(skipped) == f"1 of 2 pairs skipped, as 1 picture ({pictures}/gone.png) is missing or cannot be read."
    assert str(skip_pairs([(f"{pictures}/a.png", f"{pictures}/b.png")], [1])) == ""


def test_folds_of_lfw_are_those_of_the_whole_list(tmp_path: Path) -> None:
    for name in ("Ann", "Bob", "Cy"):
        (tmp_path / name).mkdir()
        for number in (1, 2, 3):
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name / f"{name}_{number:04d}.jpg")
    (tmp_path / "Ann" / "Ann_0002.jpg").unlink()
    folds = ["Ann\t1\t2", "Ann\t1\tBob\t1", "Bob\t1\t2", "Ann\t3\tCy\t1"]
    (tmp_path / "pairs.txt").write_text("\n".join(["2\t1", *folds]) + "\n")
    pairs = PairDataset.from_csv(tmp_path / "pairs.txt", on_error="skip")
    assert pairs.skipped is not None
    assert pairs.skipped.of_kept(read_folds(tmp_path / "pairs.txt") or []) == [0, 1, 1]
    assert pairs.all_pairs().target.tolist() == [0, 1, 0]


def test_no_pair_left_and_a_wrong_choice(pictures: Path) -> None:
    file = write(pictures, ROWS[1:2] + ROWS[3:5])
    with pytest.raises(DataError, match=r"^Expected a pair of two pictures that can be read, found none in 3 pairs, "):
        PairDataset.from_csv(file, on_error="skip")
    with pytest.raises(ValueError, match="Expected on_error to be one of raise, skip, got 'drop'"):
        PairDataset.from_csv(file, on_error="drop")  # type: ignore[arg-type]


def test_without_skipping_one_line_names_the_option_and_the_files(pictures: Path) -> None:
    with pytest.raises(ImageReadError) as caught:
        PairDataset.from_csv(write(pictures, ["a,gone,1,x,0", "a,lost,0,x,0", "a,b,0,x,0"]))
    assert str(caught.value) == (
        f"Expected the 4 pictures of {pictures}/pairs.csv to exist, 2 pictures ({pictures}/gone.png, "
        f"{pictures}/lost.png) are missing. Check the folder that the paths start from, or leave out their pairs with "
        "--on-error skip (on_error='skip')."
    )


def test_long_names_are_shortened() -> None:
    with pytest.raises(ImageReadError) as raised:
        check_exist([f"{'n' * 4000}{number}.png" for number in range(12)], "pairs.csv", "utf-8")
    said = str(raised.value)
    assert len(said) < 3000
    assert f"{'n' * 100}...{'n' * 95}0.png, " in said
    assert "and 2 more" in said
