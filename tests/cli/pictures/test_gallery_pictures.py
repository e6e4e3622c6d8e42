from __future__ import annotations

import shutil
from pathlib import Path

from run_command import Result, failure, here

from pairsim import Gallery, SimilarityModel


def loaded(place: Path, shop: Path) -> Gallery:
    return Gallery.load(shop, SimilarityModel.from_pretrained(place / "run"))


def test_a_picture_and_an_identity_of_one_name_can_be_told_apart(shop_place: Path, tmp_path: Path) -> None:
    place = tmp_path / "g"
    for more in ([], ["--identity", "one.png"]):
        added = here("gallery", "add", place, "single/one.png", "single/two.png", "--run", "run", *more, cwd=shop_place)
        assert added.status == 0, added.err

    def remove(*names: str) -> Result:
        return here("gallery", "remove", place, *names, "--run", "run", cwd=shop_place)

    assert loaded(shop_place, place).images_of("one.png") == ["one.png", "one.png/one.png", "one.png/two.png"]
    said = failure(remove("two.png", "one.png"), 1)
    assert "got 'one.png', which is both: a picture, and an identity of 3 pictures. Nothing was removed. Give " in said
    assert said.endswith("Give ./one.png for the picture alone, or one.png/ for the identity.")
    assert remove("./one.png").out.startswith("1 pictures removed\n3 pictures of 2 identities")
    assert loaded(shop_place, place).ids == ["two.png", "one.png/one.png", "one.png/two.png"]
    here("gallery", "add", place, "single/one.png", "--run", "run", cwd=shop_place)
    assert remove("one.png/", "two.png").out.startswith("4 pictures removed\n0 pictures")
    assert "got './one.png', which is neither" in failure(remove("./one.png"), 1)


def test_splits_and_metadata_are_read_as_gallery_evaluate_reads_them(shop_place: Path, tmp_path: Path) -> None:
    for kind in ("splits", "listed"):
        for split, number in (("train", 0), ("val", 1), ("test", 2)):
            for name in ("e00", "e01"):
                (tmp_path / kind / split / name).mkdir(parents=True)
                shutil.copy(shop_place / "enrolled" / name / f"{number}.png", tmp_path / kind / split / name)
    rows = [f"{split}/e01/{number}.png,tea" for split, number in (("train", 0), ("val", 1), ("test", 2))]
    (tmp_path / "listed/metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    (tmp_path / "splits/loose.png").write_bytes((tmp_path / "splits/val/e00/1.png").read_bytes())
    for kind, names in (("splits", ["e00", "e01"]), ("listed", ["tea"])):
        place, evaluating = tmp_path / f"{kind} gallery", ("--run", "run", "--threshold", "0.5", "--json")
        done = here("gallery", "add", place, tmp_path / kind, "--run", "run", cwd=shop_place)
        assert done.status == 0, done.err
        gallery = loaded(shop_place, place)
        assert list(dict.fromkeys(gallery.identities)) == names
        assert {str(name).split("/")[0] for name in gallery.ids} == {"train", "val", "test"}  # paths, as for reembed
        found = here("gallery", "evaluate", place, tmp_path / kind, *evaluating, cwd=shop_place)
        assert (found.json["num_mated"], found.json["num_non_mated"]) == (3 * len(names), 0)
        left_out = "1 picture outside the folders of the splits" if kind == "splits" else "3 pictures not listed in"
        assert left_out in done.err
        assert left_out in found.err
    assert "Labels from metadata.csv" in done.err
    one = ("gallery", "add", tmp_path / "one", tmp_path / "listed", "--identity", "coffee", "--run", "run")
    assert here(*one, cwd=shop_place).out.splitlines()[-1] == "6 pictures of 1 identities"


def test_identities_that_are_whole_numbers_are_known_by_their_text(shop_place: Path, tmp_path: Path) -> None:
    for kind, count in (("digits", 3), ("more", 1)):
        for digit in range(3):
            (tmp_path / kind / str(digit)).mkdir(parents=True)
            for number in range(count):
                source = shop_place / "enrolled" / f"e{digit:02}" / f"{number}.png"
                shutil.copy(source, tmp_path / kind / str(digit) / f"{kind}-{number}.png")
    gallery = Gallery(SimilarityModel.from_pretrained(shop_place / "run"))
    gallery.add(tmp_path / "digits", identities=[number // 3 for number in range(9)])
    place, of = tmp_path / "g", ("--run", "run")
    gallery.save(place)
    found = here("gallery", "evaluate", place, tmp_path / "more", *of, "--json", cwd=shop_place).json
    assert (found["num_mated"], found["num_non_mated"]) == (3, 0)
    said = failure(here("gallery", "calibrate", place, *of, "--unknown", tmp_path / "more", cwd=shop_place), 1)
    assert "none of which is enrolled, found 0 and 2 more in the gallery" in said
    added = here("gallery", "add", place, tmp_path / "more", *of, cwd=shop_place)
    assert added.out.splitlines()[-1] == "12 pictures of 3 identities"
    single = tmp_path / "more/1/more-0.png"
    added = here("gallery", "add", place, single, "--identity", "1", "--replace", *of, cwd=shop_place)
    assert added.out.splitlines()[-1] == "12 pictures of 3 identities"
    assert set(loaded(shop_place, place).identities) == {0, 1, 2}
    assert here("gallery", "remove", place, "1", *of, cwd=shop_place).out.startswith("4 pictures removed")


def test_an_identity_without_a_name_is_refused(shop_place: Path, tmp_path: Path) -> None:
    command = ("gallery", "add", tmp_path / "g", "single", "--run", "run", "--identity", "")
    said = failure(here(*command, cwd=shop_place), 2)
    assert "Expected --identity with a name, got none. Give one, or leave it out." in said
    assert not (tmp_path / "g").exists()
