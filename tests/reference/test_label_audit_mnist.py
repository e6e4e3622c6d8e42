"""On real MNIST: flipped labels lead the audit's ranking; planted leaks are found, and few other images listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pairsim.audits.label_audit import audit_labels
from pairsim.audits.leak_search import find_leaks
from pairsim.data import ImageTensors
from pairsim.data.named import load_data

pytestmark = [pytest.mark.mnist, pytest.mark.slow]

NUM_IMAGES, SHARE = 6_000, 0.02


def test_the_first_half_of_the_flips_is_found_almost_purely(mnist_root: Path) -> None:
    train = load_data("mnist", "train", data_dir=mnist_root).dataset
    images, true = train.images[:NUM_IMAGES], np.asarray(train.targets)[:NUM_IMAGES]
    generator = np.random.default_rng(0)
    flips = generator.choice(NUM_IMAGES, round(SHARE * NUM_IMAGES), replace=False)
    labels = true.copy()
    labels[flips] = (labels[flips] + generator.integers(1, 10, len(flips))) % 10
    audit = audit_labels(ImageTensors(images, labels))
    half = audit.images[: len(flips) // 2]
    assert np.isin(half, flips).mean() >= 0.9
    # what it proposes for them is the truth
    found = np.isin(audit.images, flips)
    assert (audit.proposed[found] == true[audit.images[found]]).mean() >= 0.9


def test_planted_leaks_are_found_and_few_others(mnist_root: Path) -> None:
    train = load_data("mnist", "train", data_dir=mnist_root).dataset
    test = load_data("mnist", "test", data_dir=mnist_root).dataset
    images = test.images.clone()
    source = train.images[:100].float()
    noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(0)) * 5
    images[:100] = train.images[:100]
    images[100:200] = (source + noise).round().clamp(0, 255).to(torch.uint8)
    images[200:300] = (source * 0.8).to(torch.uint8)
    images[300:400] = source.roll((1, -1), dims=(2, 3)).to(torch.uint8)
    images[400:500] = (source + 1).clamp(max=255).to(torch.uint8)
    report = find_leaks(train, ImageTensors(images, test.targets))
    assert report.near_duplicates is not None
    exact = {(match.test, match.train) for match in report.exact_duplicates}
    near = {(match.test, match.train) for match in report.near_duplicates}
    assert exact == {(number, number) for number in range(100)}
    planted = {(number, number % 100) for number in range(100, 500)}
    assert near >= planted
    assert len({test for test, _ in near if test >= 500}) <= 5
