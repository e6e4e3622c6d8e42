"""The benchmark of unseen classes in photographs, on small pictures and a net with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import mobilenet_v2

from benchmarks import open_world
from benchmarks.options import Options
from pairsim.models.heads.head_modules import HEAD_NAMES
from pairsim.training.adaptation import trained_heads
from pairsim.training.adaptation.class_figures import eer_and_recall


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PAIRSIM_DATA", raising=False)
    random = np.random.default_rng(0)
    for name in open_world.SETS:
        for product in range(open_world.QUICK_CLASSES):
            place = tmp_path / "open" / name / f"class{product:02d}"
            place.mkdir(parents=True)
            picture = random.integers(0, 256, (40, 40, 3))
            for number in range(4):
                noisy = np.clip(picture + random.integers(-40, 41, picture.shape), 0, 255).astype(np.uint8)
                Image.fromarray(noisy).save(place / f"{number}.png")
    # otherwise a head is trained for hundreds of epochs on so few pictures, in each fold of its choice
    monkeypatch.setattr(trained_heads, "_STEPS", 1)
    (tmp_path / "weights").mkdir()
    torch.save(mobilenet_v2().state_dict(), tmp_path / "weights" / "mobilenet_v2.pth")
    return tmp_path


@pytest.mark.slow
def test_every_arm_is_measured(root: Path) -> None:
    tables = open_world.run(Options(quick=True, data_dir=root))
    rows: list[Any] = list(tables[0].rows)
    for name in open_world.SETS:
        of_it = [row for row in rows if row["arm"].startswith(name)]
        arms = [row["arm"].removeprefix(f"{name}, ") for row in of_it]
        assert arms[:2] == ["pixels", open_world.FROZEN]
        assert arms[5:7] == [open_world.TRAINED, open_world.SCRATCH]
        assert of_it[5]["kept"].split(": ")[0] in ("frozen", "trained")
        assert all(0 <= row["eer"] <= 1 and 0 <= row["recall_at_1"] <= 1 for row in of_it)
        assert all(row["better_low"] <= row["better_by"] + 0.2 and row["seconds"] > 0 for row in of_it[2:])
    assert all(row["splits"] == 1 for row in tables[1].rows)


def test_without_the_pictures_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRSIM_DATA", raising=False)
    (table,) = open_world.run(Options(data_dir=tmp_path))
    assert table.rows == ()
    assert "needs open/groceries, open/lfw-people" in table.notes[0]


def test_pixels_do_not_depend_on_brightness() -> None:
    images = torch.randint(0, 200, (3, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(open_world.pixels(images + 50), open_world.pixels(images), rtol=0, atol=1e-3)


def test_heads_are_those_of_pairsim() -> None:
    assert {head.name for head in open_world.HEADS} <= set(HEAD_NAMES)


def test_a_head_of_the_peer_learns() -> None:
    pytest.importorskip("pytorch_metric_learning")
    generator = torch.Generator().manual_seed(0)
    codes = torch.arange(8).repeat(16)
    features = torch.randn(8, 6, generator=generator)[codes] + torch.randn(128, 6, generator=generator)
    head = open_world.metric_head("MultiSimilarityLoss", features, codes, 0)
    with torch.no_grad():
        embeddings = head(features)
    before, after = (eer_and_recall(values, codes)["eer"] for values in (features, embeddings))
    assert after < before
