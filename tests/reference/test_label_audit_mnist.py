"""On real MNIST: flipped labels lead the audit's ranking, and the leak check finds what was planted and little else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairsim import TrainConfig
from pairsim.data import ImageTensors
from pairsim.data.named import data_root, load_data
from pairsim.label_audit import audit_labels

pytestmark = [pytest.mark.mnist, pytest.mark.slow]

NUM_IMAGES, SHARE = 12_000, 0.02


@pytest.fixture(scope="module")
def root() -> Path:
    """The folder that holds MNIST; skips where there is none, and never downloads."""
    for place in (data_root(), data_root() / "mnist"):
        if (place / "MNIST" / "raw").is_dir():
            return place
    pytest.skip("no MNIST: set PAIRSIM_DATA to a folder with MNIST/raw in it")


def test_the_first_half_of_the_flips_is_found_almost_purely(root: Path) -> None:
    train = load_data("mnist", "train", data_dir=root).dataset
    images, true = train.images[:NUM_IMAGES], np.asarray(train.targets)[:NUM_IMAGES]
    generator = np.random.default_rng(0)
    flips = generator.choice(NUM_IMAGES, round(SHARE * NUM_IMAGES), replace=False)
    labels = true.copy()
    labels[flips] = (labels[flips] + generator.integers(1, 10, len(flips))) % 10
    audit = audit_labels(ImageTensors(images, labels), config=TrainConfig(epochs=3))
    half = audit.images[: len(flips) // 2]
    assert np.isin(half, flips).mean() >= 0.9
    # what it proposes for them is the truth
    found = np.isin(audit.images, flips)
    assert (audit.proposed[found] == true[audit.images[found]]).mean() >= 0.9
