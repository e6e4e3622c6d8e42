"""Every injected leak is found, clean data are clean, and near-duplicates are those of a brute-force search."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Subset, TensorDataset
from torchvision.transforms import v2

from pairsim.audits.leak_report import LeakReport
from pairsim.audits.leak_search import MAX_MATCHES, find_leaks
from pairsim.data import ImageFiles, ImageTensors, LabelledData, PairDataset
from pairsim.errors import DataError

NUM_TRAIN, NUM_TEST = 60, 25


def pictures(count: int, seed: int, *, size: tuple[int, int] = (28, 28), channels: int = 1) -> Tensor:
    """Smooth random pictures, uint8 `[count, channels, *size]`, with room for a little more brightness."""
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.rand(count, channels, 7, 7, generator=generator)
    smooth = functional.interpolate(blobs, size=size, mode="bilinear", align_corners=True)
    return (20 + 200 * smooth).to(torch.uint8)


def sets(*, channels: int = 1, size: tuple[int, int] = (28, 28)) -> tuple[Tensor, Tensor]:
    return pictures(NUM_TRAIN, 1, size=size, channels=channels), pictures(NUM_TEST, 2, size=size, channels=channels)


def labelled(images: Tensor, offset: int = 0) -> ImageTensors:
    return ImageTensors(images, [offset + number % 3 for number in range(len(images))])


def find(train: Tensor, test: Tensor, **options: Any) -> LeakReport:
    return find_leaks(labelled(train), labelled(test), **options)


def noisy(image: Tensor, deviation: float) -> Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(5)) * deviation
    return (image + noise).round().clamp(0, 255).to(torch.uint8)


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Moved, with its edge repeated."""
    padded = functional.pad(image[None].float(), (1, 1, 1, 1), mode="replicate")[0]
    height, width = image.shape[1:]
    return padded[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width].to(torch.uint8)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "one grey level": lambda image: image + 1,
    "one pixel by one level": lambda image: torch.cat((image.flatten()[:1] ^ 1, image.flatten()[1:])).view_as(image),
    "noise": lambda image: noisy(image, 4.0),
    "darker": lambda image: (image * 0.7).to(torch.uint8),
    "brighter": lambda image: image + 30,
    "brighter, clipped": lambda image: (image * 1.3).clamp(max=255).to(torch.uint8),
    "less contrast": lambda image: (image * 0.5 + 60).to(torch.uint8),
    **{
        f"moved by {down}, {right}": partial(shifted, down=down, right=right)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if (down, right) != (0, 0)
    },
}


def correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return float(np.corrcoef(a.astype(np.float64).ravel(), b.astype(np.float64).ravel())[0, 1])


def best_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """The highest correlation of the inner part of `b` and a window of `a`, both `[C, H, W]`."""
    height, width = a.shape[1:]
    inner = b[:, 1:-1, 1:-1]
    windows = [a[:, top : top + height - 2, left : left + width - 2] for top in range(3) for left in range(3)]
    return max(correlation(window, inner) for window in windows)


@pytest.mark.parametrize("channels", [1, 3])
def test_clean_data_give_a_clean_report(channels: int) -> None:
    train, test = sets(channels=channels)
    pairs = PairDataset.from_pairs(labelled(test), [0, 1, 2], [3, 4, 5], [1, 1, 1])
    report = find_leaks(labelled(train), labelled(test, 3), unseen_classes=True, pairs=pairs)
    assert report.clean
    assert report.test_images == ()
    assert (report.exact_duplicates, report.near_duplicates, report.shared_classes) == ((), (), ())
    assert (report.self_pairs, report.repeated_pairs, report.identical_pairs) == ((), (), ())
    assert str(report) == "No leaks found in 60 training and 25 test images, 3 pairs."


def test_exact_duplicates_are_those_of_a_brute_force_search() -> None:
    train, test = sets()
    train[[50, 7]] = train[3].clone()
    test[[4, 9]] = train[3]
    test[24] = train[59]
    report = find(train, test)
    expected = [
        (t, n) for t in range(NUM_TEST) for n in range(NUM_TRAIN) if np.array_equal(test[t].numpy(), train[n].numpy())
    ]
    assert len(expected) == 7
    assert [(match.test, match.train) for match in report.exact_duplicates] == expected
    assert all(match.similarity == 1.0 for match in report.exact_duplicates)
    assert [match.same_label for match in report.exact_duplicates] == [t % 3 == n % 3 for t, n in expected]
    assert report.near_duplicates == ()
    assert report.test_images == (4, 9, 24)
    assert not report.clean


@pytest.mark.parametrize("change", CHANGES)
def test_near_duplicates_are_found(change: str) -> None:
    train, test = sets()
    test[13] = CHANGES[change](train[42])
    assert not torch.equal(test[13], train[42])
    report = find(train, test)
    assert report.near_duplicates is not None
    assert [(match.test, match.train) for match in report.near_duplicates] == [(13, 42)]
    assert report.exact_duplicates == ()
    assert report.test_images == (13,)
    expected = best_correlation(test[13].numpy(), train[42].numpy())
    assert report.near_duplicates[0].similarity == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("level", [0.9, 0.97, 0.999])
def test_near_duplicates_are_those_of_a_brute_force_search(level: float) -> None:
    train, test = sets()
    for number in range(NUM_TEST):
        test[number] = noisy(train[2 * number], 0.5 * number)
    report = find(train, test, near_duplicate_similarity=level)
    assert report.near_duplicates is not None
    found = {(match.test, match.train): match.similarity for match in report.near_duplicates}
    expected = {
        (t, n): value
        for t in range(NUM_TEST)
        for n in range(NUM_TRAIN)
        if (value := best_correlation(test[t].numpy(), train[n].numpy())) >= level
        and not torch.equal(test[t], train[n])
    }
    assert 1 < len(expected) < NUM_TEST + 5
    assert found == pytest.approx(expected, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, NUM_TEST - 1), st.integers(0, NUM_TRAIN - 1)), max_size=4),
    changes=st.lists(st.sampled_from(sorted(CHANGES)), min_size=4, max_size=4),
    copies=st.booleans(),
)
def test_every_injected_image_is_found(places: list[tuple[int, int]], changes: list[str], copies: bool) -> None:
    train, test = sets()
    injected = {}
    for (number, source), change in zip(places, changes, strict=False):
        test[number] = train[source] if copies else CHANGES[change](train[source])
        injected[number] = source
    report = find(train, test)
    found = {match.test: match.train for match in (*report.exact_duplicates, *(report.near_duplicates or ()))}
    assert found == injected
    assert report.clean == (not injected)
    assert report.test_images == tuple(sorted(injected))


def test_a_resized_and_a_grey_copy_are_near_duplicates() -> None:
    train, _ = sets(channels=3, size=(64, 48))
    larger = functional.interpolate(train[10:13].float(), size=(96, 80), mode="bilinear").to(torch.uint8)
    report = find(train, larger)
    assert [(match.test, match.train) for match in report.near_duplicates or ()] == [(0, 10), (1, 11), (2, 12)]
    grey = train[10:13].float().mean(dim=1, keepdim=True).to(torch.uint8)
    report = find(train, grey)
    assert [(match.test, match.train) for match in report.near_duplicates or ()] == [(0, 10), (1, 11), (2, 12)]


def test_other_colours_are_another_image() -> None:
    train, test = sets(channels=3)
    test[6] = train[8].flip(0)
    assert find(train, test).clean


def test_images_of_one_colour_are_duplicates_only_of_their_own_colour() -> None:
    train, test = sets()
    train[5], test[6], test[7] = 200, 200, 201
    report = find(train, test)
    assert [(match.test, match.train) for match in report.exact_duplicates] == [(6, 5)]
    assert report.near_duplicates == ()


def test_blocks_and_batches_lose_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(0, 200, (4200, 1, 9, 8), dtype=torch.uint8, generator=generator)
    test = torch.randint(0, 200, (300, 1, 9, 8), dtype=torch.uint8, generator=generator)
    wanted = [(0, 0), (127, 2047), (128, 2048), (255, 2049), (256, 4095), (299, 4199)]
    for number, source in wanted:
        test[number] = train[source] + 1
    report = find(train, test)
    assert [(match.test, match.train) for match in report.near_duplicates or ()] == wanted
    assert report.exact_duplicates == ()


def test_many_copies_are_listed_up_to_a_limit() -> None:
    train, test = sets()
    train[:30] = train[0].clone()
    train[31:50] = train[31].clone()
    test[3], test[4] = train[0], train[31] + 1
    report = find(train, test)
    assert [(match.test, match.train) for match in report.exact_duplicates] == [(3, n) for n in range(MAX_MATCHES)]
    assert len(report.near_duplicates or ()) == MAX_MATCHES
    assert {match.test for match in report.near_duplicates or ()} == {4}


def test_small_images_and_any_kind_of_dataset(tmp_path: Path) -> None:
    train, test = sets(size=(6, 5))
    test[2], test[3] = train[1], train[4] + 1
    expected = ([(2, 1)], [(3, 4)])
    for number, image in enumerate(train):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{number}.png")
    files = ImageFiles([tmp_path / f"{number}.png" for number in range(NUM_TRAIN)], [0] * NUM_TRAIN, channels=1)
    labels = torch.zeros(NUM_TRAIN, dtype=torch.int64)
    listed = [(image, 0) for image in test]
    kinds: list[tuple[Any, Any]] = [
        (labelled(train), listed),
        (files, listed),
        (TensorDataset(train, labels), labelled(test)),
        (Subset(labelled(train), range(NUM_TRAIN)), Subset(listed, range(NUM_TEST))),  # type: ignore[arg-type]
        ([(Image.fromarray(i[0].numpy()), 0) for i in train], [(Image.fromarray(i[0].numpy()), 0) for i in test]),
        (labelled(train.float() / 255), labelled(test.float() / 255)),
    ]
    for first, second in kinds:
        report = find_leaks(first, second, workers=0)
        assert [(match.test, match.train) for match in report.exact_duplicates] == expected[0]
        assert [(match.test, match.train) for match in report.near_duplicates or ()] == expected[1]
    overlapping = find_leaks(Subset(labelled(train), [0, 1, 2]), Subset(labelled(train), [2, 3]))
    assert [(match.test, match.train) for match in overlapping.exact_duplicates] == [(0, 2)]


def test_without_near_duplicates() -> None:
    train, test = sets()
    test[0] = train[0] + 1
    report = find(train, test, near_duplicate_similarity=None)
    assert report.near_duplicates is None
    assert report.clean
    assert str(report).endswith("Near-duplicates were not searched.")


@pytest.mark.parametrize(
    ("train_labels", "test_labels", "shared"),
    [([1, 2, 3], [4, 5, 6], ()), ([1, 2, 3], [9, 3, 2], (2, 3)), (["b", "a", "c"], ["z", "b", "z"], ("b",))],
)
def test_classes_that_were_claimed_unseen(train_labels: Any, test_labels: Any, shared: tuple[Any, ...]) -> None:
    train, test = ImageTensors(pictures(3, 1), train_labels), ImageTensors(pictures(3, 2), test_labels)
    report = find_leaks(train, test, unseen_classes=True)
    assert report.shared_classes == shared
    assert report.clean == (not shared)
    assert find_leaks(train, test).clean
    if shared:
        assert f"{len(shared)} classes of both sets, claimed unseen: {', '.join(map(str, shared))}" in str(report)


def test_pairs_are_checked() -> None:
    train, test = sets()
    test[20] = test[2]
    first, second = [0, 3, 5, 1, 2, 7, 5, 20], [1, 3, 6, 0, 20, 8, 6, 2]
    columns: list[Any] = [
        (first, second),
        (np.array(first), torch.tensor(second), [1] * 8),
        (np.array(first, dtype=np.uint8), tuple(second)),
    ]
    for pairs in columns:
        report = find(train, test, pairs=pairs)
        assert report.num_pairs == 8
        assert report.self_pairs == (1,)
        assert report.repeated_pairs == (3, 6, 7)
        assert report.identical_pairs == (4, 7)
        assert not report.clean
    lines = str(report).splitlines()
    assert "1 pairs of an image with itself, at positions: 1" in lines
    assert "3 pairs that repeat an earlier one, at positions: 3, 6, 7" in lines
    assert find(train, test, pairs=([], [])).clean


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
@settings(max_examples=30, deadline=None)
def test_flaws_of_pairs_are_those_of_a_loop(numbers: list[tuple[int, int]]) -> None:
    images = pictures(6, 3, size=(4, 4))
    images[4] = images[1]
    report = find(pictures(2, 4, size=(4, 4)), images, pairs=([a for a, _ in numbers], [b for _, b in numbers]))
    seen: set[frozenset[int]] = set()
    own, repeated, identical = [], [], []
    for position, (a, b) in enumerate(numbers):
        if a == b:
            own.append(position)
            continue
        if frozenset((a, b)) in seen:
            repeated.append(position)
        if {a, b} == {1, 4}:
            identical.append(position)
        seen.add(frozenset((a, b)))
    assert report.self_pairs == tuple(own)
    assert report.repeated_pairs == tuple(repeated)
    assert report.identical_pairs == tuple(identical)


@pytest.mark.parametrize("which", ["train", "test", "other"])
def test_a_pair_dataset_is_checked_by_its_own_images(which: str) -> None:
    train, test = sets()
    other = pictures(10, 7)
    dataset = {"train": labelled(train), "test": labelled(test), "other": labelled(other)}
    dataset[which].images[8] = dataset[which].images[3]
    pairs = PairDataset.from_pairs(dataset[which], [0, 3, 1], [1, 8, 0], [0, 1, 0])
    report = find_leaks(dataset["train"], dataset["test"], pairs=pairs)
    assert (report.repeated_pairs, report.identical_pairs) == ((2,), (1,))
    drawn = PairDataset(dataset["test"], 5, seed=1)
    assert find_leaks(dataset["train"], dataset["test"], pairs=drawn).num_pairs == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"near_duplicate_similarity": 0.0}, ValueError, r"near_duplicate_similarity to be in \(0, 1\], got 0.0"),
        ({"near_duplicate_similarity": float("nan")}, ValueError, r"in \(0, 1\], got nan"),
        ({"pairs": ([0], [25])}, DataError, r"indices of test images, whole numbers from 0 to 24, got int64"),
        ({"pairs": ([-1], [0])}, DataError, "from -1 to -1"),
        ({"pairs": ([0.5], [0])}, DataError, "got float64"),
        ({"pairs": ([0, 1], [0])}, DataError, r"to have one length, got shapes \[2\], \[1\]"),
        ({"pairs": [0, 1]}, TypeError, r"Expected pairs as a PairDataset or a tuple \(first, second\)"),
        ({"test": ImageTensors(pictures(2, 1), ["a", "b"])}, DataError, "text in one and numbers in the other"),
        ({"test": ImageTensors(pictures(2, 1)[:0], [])}, DataError, "Expected images in test, found none"),
        ({"test": [(pictures(1, 1)[0], 0), (pictures(1, 1, size=(9, 9))[0], 0)]}, DataError, "one shape"),
        ({"train": iter([])}, TypeError, "map-style dataset with a length"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], error: type[Exception], message: str) -> None:
    train, test = sets()
    values: dict[str, Any] = {"train": labelled(train), "test": labelled(test)} | options
    with pytest.raises(error, match=message):
        find_leaks(values.pop("train"), values.pop("test"), **values)


def test_random_transforms_are_refused() -> None:
    train, test = sets()
    flipped = labelled(train)
    flipped.transform = v2.Compose([v2.RandomHorizontalFlip()])  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"Expected train to give the same images every time.*RandomHorizontalFlip"):
        find_leaks(flipped, labelled(test))


def test_groups_of_both_sets() -> None:
    train, test = (ImageTensors(pictures(3, seed), [1, 2, 3]) for seed in (1, 2))
    report = find_leaks(train, test, groups=(["w1", "w2", "w2"], ["w4", "w2", "w3"]))
    assert report.shared_groups == ("w2",)
    assert "1 groups of both sets: w2" in str(report)
    assert find_leaks(train, test, groups=([1, 2, 3], [4, 5, 6])).clean
    with pytest.raises(DataError, match="Expected groups of one kind in train and test, found text in one"):
        find_leaks(train, test, groups=([1, 2, 3], ["1", "2", "3"]))
    options: dict[str, Any] = {"class_names": ("1", "2", "3"), "image_size": (28, 28), "channels": 1, "source": ""}
    for names, shared in ((["b", "c", "d"], ("b",)), (["c", "d", "d"], ())):
        ours = LabelledData(dataset=train, groups=np.array(["a", "b", "b"]), **options)
        theirs = LabelledData(dataset=test, groups=np.array(names), **options)
        assert find_leaks(ours, theirs).shared_groups == shared
