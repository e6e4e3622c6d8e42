"""Edits whose pixels are known give counts that are known: of copies that are found, and of false pairs."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pairsim.audits.duplicates.listed_pictures import Listed
from pairsim.audits.duplicates.matching.families import Family
from pairsim.audits.duplicates.matching.fingerprints import fingerprint
from pairsim.audits.duplicates.matching.registered_search import described
from pairsim.audits.duplicates.matching.registration import Frames
from pairsim.audits.duplicates.rates import edit_recall as module
from pairsim.audits.duplicates.rates.edit_recall import all_described, drawn, edit_recall
from pairsim.audits.duplicates.rates.edits import Edit
from pairsim.errors import DataError, ImageReadError
from pairsim.evaluation.uncertainty.wilson import wilson_interval

COUNT = 5
THRESHOLD = 0.8
"""Smooth pictures that are equal have somewhat more."""


def texture(seed: int, width: int = 72, height: int = 72) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def as_listed(images: list[Image.Image]) -> list[Listed]:
    return [Listed(index, np.asarray(image), f"#{index}", None) for index, image in enumerate(images)]


def same(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return image


def always_the_first(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return texture(0)


def plain(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return Image.new("RGB", image.size, (90, 90, 90))


def use(monkeypatch: pytest.MonkeyPatch, *edits: Edit) -> None:
    monkeypatch.setattr(module, "EDITS", edits)


def different_pairs(count: int) -> int:
    """Count the pairs of an edited picture with another picture, edited or not, one by one."""
    versions = [(picture, edited) for picture in range(count) for edited in (False, True)]
    return sum(
        one[0] != other[0] and (one[1] or other[1]) for row, one in enumerate(versions) for other in versions[row + 1 :]
    )


def test_counts_of_edits_whose_pixels_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    use(
        monkeypatch,
        Edit("same", "identical pixels", same, None),
        Edit("first", "replaced", always_the_first, None),
        Edit("plain", "emptied", plain, None),
    )
    recall, pairs, false = edit_recall(as_listed([texture(seed) for seed in range(COUNT)]), THRESHOLD, "raise", False)
    assert [(one.edit, one.kind, one.found, one.total) for one in recall[:2]] == [
        ("same", "identical pixels", COUNT, COUNT),
        ("first", "replaced", 1, COUNT),  # the first itself
    ]
    assert recall[2].found == 0
    assert [one.recall for one in recall] == [1.0, 1 / COUNT, 0.0]
    for one in recall:
        assert one.interval == pytest.approx(tuple(map(float, wilson_interval(one.found, COUNT))))
    assert pairs == 3 * different_pairs(COUNT)
    edited_with_edited, first_with_edited = COUNT * (COUNT - 1) // 2, COUNT - 1
    assert false == edited_with_edited + first_with_edited  # empty pictures have similarity 0


def test_pairs_of_pictures_without_an_edit_are_not_false(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Edit("same", "identical pixels", same, None))
    alike = [texture(seed) for seed in (0, 0, 1, 2)]
    recall, pairs, false = edit_recall(as_listed(alike), THRESHOLD, "raise", False)
    assert (recall[0].found, recall[0].total) == (4, 4)
    assert pairs == different_pairs(4)
    assert false == 3  # of the four pairs of the two that are alike, one has no edit


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_counts_of_families_whose_similarities_are_known(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Similarities are multiples of a quarter, so that many are at the threshold, which counts."""
    use(monkeypatch, Edit("same", "identical pixels", same, None), Edit("again", "identical pixels", same, None))
    generator = np.random.default_rng(0)
    given: list[Family] = []

    def related(pictures: Frames, features: object, links: bool) -> tuple[list[Family], list[object]]:
        order = generator.permutation(len(pictures.sizes))
        found = []
        for rows in (np.sort(order[:4]), np.sort(order[4:9])):
            similarity = generator.integers(0, 5, (len(rows), len(rows))) / 4
            similarity = np.maximum(similarity, similarity.T)
            found.append(Family(tuple(rows.tolist()), similarity, similarity, torch.zeros(len(rows), 2, 3)))
        given.extend(found)
        return found, []

    monkeypatch.setattr(module, "related", related)
    recall, _, false = edit_recall(as_listed([texture(seed) for seed in range(COUNT)]), threshold, "raise", False)
    expected_found, expected_false = [0, 0], 0
    for number, family in enumerate(given):
        for row, one in enumerate(family.members):
            for column, other in enumerate(family.members[:row]):
                if family.similarity[row, column] < threshold:
                    continue
                if abs(one - other) == COUNT:  # a picture and its edit
                    expected_found[number // 2] += 1
                elif one >= COUNT or other >= COUNT:
                    expected_false += 1
    assert [one.found for one in recall] == expected_found
    assert false == expected_false
    assert expected_false > 0


def test_large_pictures_are_reduced_before_they_are_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def noted(image: Image.Image, _: np.random.Generator) -> Image.Image:
        sizes.append(image.size)
        return image

    use(monkeypatch, Edit("noted", "identical pixels", noted, None))
    images = [texture(0, 800, 400), texture(1, 400, 800), texture(2, 640, 90), texture(3, 50, 60)]
    edit_recall(as_listed(images), THRESHOLD, "raise", False)
    assert sorted(sizes) == sorted([(640, 320), (320, 640), (640, 90), (50, 60)])


def test_at_most_a_hundred_pictures_are_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Edit("same", "identical pixels", same, None))
    monkeypatch.setattr(module, "related", lambda *_: ([], []))
    recall, pairs, false = edit_recall(
        as_listed([texture(seed, 12, 12) for seed in range(103)]), THRESHOLD, "raise", False
    )
    assert (recall[0].total, pairs, false) == (100, different_pairs(100), 0)


def test_pictures_that_can_no_longer_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Edit("same", "identical pixels", same, None))
    pictures = as_listed([texture(seed) for seed in range(3)])
    file = io.BytesIO()
    texture(9).save(file, "PNG")
    broken = tmp_path / "broken.png"
    broken.write_bytes(file.getvalue()[:60])
    pictures[1] = replace(pictures[1], picture=broken, name="broken.png", path=str(broken))
    recall, pairs, _ = edit_recall(pictures, THRESHOLD, "skip", False)
    assert (recall[0].found, recall[0].total, pairs) == (2, 2, different_pairs(2))
    with pytest.raises(ImageReadError, match=r"broken\.png"):
        edit_recall(pictures, THRESHOLD, "raise", False)
    with pytest.raises(DataError, match=r"Expected pictures that can be read, .* Look at the folder\."):
        edit_recall(pictures[1:2], THRESHOLD, "skip", False)


def test_a_draw_is_repeatable_and_keeps_the_order() -> None:
    pictures = as_listed([texture(0, 4, 4)] * 200)
    chosen = [one.index for one in drawn(pictures, 50)]
    assert chosen == sorted(set(chosen)) == [one.index for one in drawn(pictures, 50)]
    assert len(chosen) == 50
    assert min(chosen) < 20 < 180 < max(chosen)  # from all of them
    assert drawn(pictures, 200) == pictures


def test_blocks_of_descriptions_join_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = [fingerprint(torch.from_numpy(np.array(texture(seed))).permute(2, 0, 1)) for seed in range(COUNT)]
    whole = described(prints)
    monkeypatch.setattr(module, "DESCRIBED_AT_ONCE", 2)
    found = all_described(prints)
    assert found.picture.unique().tolist() == list(range(COUNT))
    assert torch.equal(found.picture, whole.picture)
    torch.testing.assert_close(found.place, whole.place)
    assert (found.description.int() - whole.description.int()).abs().max() <= 1  # rounding
