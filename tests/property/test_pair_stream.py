"""The pair stream is a pure function of seed, epoch and position, and keeps what its documentation promises."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset

from pairsim import PairDataset
from pairsim.data import ClassBalancedBatches, ClassIndex, ImageTensors, PairSampler
from pairsim.data.pairs.pair_sampler import PairIndices

LABELS = st.lists(st.integers(0, 4), min_size=4, max_size=40).filter(
    lambda labels: len(set(labels)) > 1 and max(map(labels.count, labels)) > 1
)
FRACTIONS = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0, 1 / 3, 0.123])


def sampler_of(labels: list[int], **settings: Any) -> PairSampler:
    return PairSampler(ClassIndex.from_labels(np.array(labels)), **settings)


def joined(parts: list[PairIndices]) -> PairIndices:
    return PairIndices(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("first", "second", "target")))


@given(LABELS, st.integers(0, 2**70), st.integers(0, 10**6), FRACTIONS, st.sampled_from(["class", "instance"]))
def test_no_self_pairs_and_targets_agree_with_labels(
    labels: list[int], seed: int, epoch: int, fraction: float, negatives: Any
) -> None:
    pairs = sampler_of(labels, seed=seed, positive_fraction=fraction, negatives=negatives).draw(epoch, np.arange(200))
    values = np.array(labels)
    assert not (pairs.first == pairs.second).any()
    assert ((values[pairs.first] == values[pairs.second]) == pairs.target.astype(bool)).all()


@given(LABELS, st.integers(0, 2**31), FRACTIONS, st.integers(0, 50))
def test_balance_is_exact_in_every_aligned_group(labels: list[int], seed: int, fraction: float, skip: int) -> None:
    share = Fraction(fraction).limit_denominator(1000)
    size = share.denominator
    start = skip * size
    pairs = sampler_of(labels, seed=seed, positive_fraction=fraction).draw(3, np.arange(start, start + 5 * size))
    assert (pairs.target.reshape(5, size).sum(axis=1) == share.numerator).all()


@given(LABELS, st.integers(0, 2**31), st.integers(0, 100), st.sampled_from([1, 7, 100]), st.integers(0, 119))
def test_stream_does_not_depend_on_batch_size_or_start(
    labels: list[int], seed: int, epoch: int, batch_size: int, start: int
) -> None:
    sampler = sampler_of(labels, seed=seed)
    whole = sampler.draw(epoch, np.arange(120))
    part = joined(list(sampler.stream(epoch, 120, start=start, batch_size=batch_size)))
    assert part.hash() == PairIndices(whole.first[start:], whole.second[start:], whole.target[start:]).hash()


@given(LABELS, st.integers(0, 2**31), st.permutations(range(60)))
def test_stream_does_not_depend_on_order_of_access(labels: list[int], seed: int, order: list[int]) -> None:
    sampler = sampler_of(labels, seed=seed)
    ordered, shuffled = sampler.draw(1, np.arange(60)), sampler.draw(1, np.array(order))
    assert (ordered.first[order] == shuffled.first).all()
    assert (ordered.second[order] == shuffled.second).all()


@given(st.integers(0, 2**31))
def test_images_alone_in_their_class_are_never_in_positive_pairs(seed: int) -> None:
    sampler = sampler_of([0, 0, 0, 1, 2, 2, 3], seed=seed)
    pairs = sampler.draw(0, np.arange(400))
    positive = pairs.target.astype(bool)
    assert not np.isin(np.concatenate((pairs.first[positive], pairs.second[positive])), [3, 6]).any()
    assert np.isin([3, 6], np.concatenate((pairs.first[~positive], pairs.second[~positive]))).all()


def chi_square(counts: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


def test_first_and_second_images_are_uniform() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 70])
    num = 400_000
    pairs = sampler_of(labels.tolist(), seed=5).draw(0, np.arange(num))
    positive = pairs.target.astype(bool)
    # 99 degrees of freedom: above 150 once in 1,000 times; the seed is fixed
    for chosen in (positive, ~positive):
        firsts = np.bincount(pairs.first[chosen], minlength=100)
        assert chi_square(firsts, np.full(100, chosen.sum() / 100)) < 150
    # a positive's second image: its class is that of the first, and inside it all others are as likely
    seconds = np.bincount(pairs.second[positive], minlength=100)
    assert chi_square(seconds, np.full(100, positive.sum() / 100)) < 150
    # a negative's second: a class among the two others, then an image of it
    probability = np.zeros(100)
    sizes = np.bincount(labels)
    for own in range(3):
        for other in range(3):
            if own != other:
                probability[labels == other] += sizes[own] / 100 / 2 / sizes[other]
    assert chi_square(np.bincount(pairs.second[~positive], minlength=100), probability * (~positive).sum()) < 150


def test_negatives_by_instance_are_uniform_over_images_of_other_classes() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 70])
    pairs = sampler_of(labels.tolist(), seed=6, negatives="instance", positive_fraction=0.0).draw(0, np.arange(400_000))
    sizes = np.bincount(labels)
    probability = np.array([sum(sizes[own] / 100 / (100 - sizes[own]) for own in range(3) if own != c) for c in labels])
    assert chi_square(np.bincount(pairs.second, minlength=100), probability * 400_000) < 150


def test_neighbouring_seeds_and_epochs_have_nothing_in_common() -> None:
    streams = {
        (seed, epoch): sampler_of([0, 1] * 500, seed=seed).draw(epoch, np.arange(1000))
        for seed in (0, 1, 2)
        for epoch in (0, 1, 2)
    }
    assert len({stream.hash() for stream in streams.values()}) == 9
    a, b = streams[0, 1], streams[1, 0]
    assert (a.first == b.first).mean() < 0.01


def numbered(num: int = 60) -> ImageTensors:
    """Images that carry their own number, so that a loader's output tells which pair it was."""
    images = torch.arange(num, dtype=torch.uint8).view(-1, 1, 1, 1)
    return ImageTensors(images, [n % 4 for n in range(num)])


def stream_hash(pairs: PairDataset, **loader: Any) -> str:
    digest = hashlib.sha256()
    for first, second, target in DataLoader(pairs, **loader):
        for a, b, t in zip(first.flatten().tolist(), second.flatten().tolist(), target.tolist(), strict=True):
            digest.update(f"{a},{b},{t};".encode())
    return digest.hexdigest()


EXPECTED = stream_hash(PairDataset(numbered(), 150, seed=9), batch_size=64)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_same_stream_for_any_workers_and_batch_size(num_workers: int, batch_size: int) -> None:
    settings: dict[str, Any] = {"multiprocessing_context": "fork"} if num_workers else {}
    pairs = PairDataset(numbered(), 150, seed=9)
    assert stream_hash(pairs, num_workers=num_workers, batch_size=batch_size, **settings) == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 4])
def test_same_stream_in_spawned_workers(num_workers: int) -> None:
    pairs = PairDataset(numbered(), 150, seed=9)
    spawned = stream_hash(pairs, num_workers=num_workers, batch_size=7, multiprocessing_context="spawn")
    assert spawned == EXPECTED


@pytest.mark.parametrize("start", [1, 100, 511])
def test_same_stream_started_in_the_middle(start: int) -> None:
    pairs = PairDataset(numbered(), 512, seed=9)
    whole = [tuple(map(int, pairs[k])) for k in range(512)]
    later = Subset(pairs, range(start, 512))
    rest = [tuple(map(int, later[k])) for k in range(len(later))]
    assert rest == whole[start:]


def test_a_new_epoch_reaches_workers_that_are_already_there() -> None:
    pairs = PairDataset(numbered(), 64, seed=9)
    loader = DataLoader(pairs, batch_size=16, num_workers=2, persistent_workers=True)
    found = []
    for epoch in (0, 5, 0):
        pairs.set_epoch(epoch)
        found.append(torch.cat([first.flatten() for first, _, _ in loader]))
        assert (found[-1] == torch.from_numpy(pairs.all_pairs().first).to(torch.uint8)).all()
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


@given(LABELS, st.integers(2, 50), st.integers(2, 6), st.integers(1, 4), st.integers(0, 2**31), st.integers(0, 100))
@settings(max_examples=60)
def test_class_balanced_batches_cover_every_image_once(
    labels: list[int], batch_size: int, images_per_class: int, bound: int, seed: int, epoch: int
) -> None:
    index, groups = ClassIndex.from_labels(np.array(labels)), np.array(labels) // bound
    plan = ClassBalancedBatches(index, batch_size, images_per_class=images_per_class, groups=groups, seed=seed)
    batches = [plan.batch(epoch, number) for number in range(plan.num_batches)]
    images = np.concatenate([batch for batch, _ in batches])
    assert sorted(images.tolist()) == list(range(len(labels)))
    sizes = [len(batch) for batch, _ in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    for batch, codes in batches:
        assert (index.codes[batch] == codes.numpy()).all()


def test_class_balanced_batches_have_positive_pairs_even_with_many_classes() -> None:
    index = ClassIndex.from_labels(np.repeat(np.arange(500), 8))
    plan = ClassBalancedBatches(index, 64, images_per_class=4, seed=1)
    for number in range(plan.num_batches):
        _, codes = plan.batch(0, number)
        same = (codes[:, None] == codes[None, :]).sum().item() - len(codes)
        # 16 groups of 4 have 16 x 4 x 3 ordered pairs; a border may cut one group at either end
        assert same >= 14 * 12
