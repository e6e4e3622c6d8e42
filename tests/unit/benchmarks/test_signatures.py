"""The benchmark of signatures, on small pictures and a net with random weights."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import mobilenet_v2

from benchmarks import signatures
from benchmarks.options import Options
from pairsim.data import ImageTensors, LabelledImages
from pairsim.evaluation import equal_error_rate


def made(writers: int = 3, each: int = 4) -> signatures.Signatures:
    """Signatures of some writers, as many genuine as forged ones."""
    names = [f"w{writer}_{kind}" for writer in range(writers) for kind in ("forged", "genuine") for _ in range(each)]
    labels = np.array(names)
    groups = np.array([name.split("_")[0] for name in names])
    images = ImageTensors(torch.zeros(len(names), 1, 8, 8, dtype=torch.uint8), labels)
    genuine = torch.tensor([name.endswith("genuine") for name in names])
    numbers = torch.from_numpy(np.unique(groups, return_inverse=True)[1])
    return signatures.Signatures(LabelledImages(images, labels, groups=groups), numbers, genuine)


def test_two_forgeries_are_no_pair() -> None:
    part = made()
    embeddings = torch.randn(len(part.writers), 5, generator=torch.Generator().manual_seed(0)).double()
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    scores: dict[str, list[float]] = {"positive": [], "eer_skilled": [], "eer_strangers": []}
    for first, second in combinations(range(len(part.writers)), 2):
        same = bool(part.writers[first] == part.writers[second])
        num_genuine = int(part.genuine[first]) + int(part.genuine[second])
        name = {(True, 2): "positive", (True, 1): "eer_skilled", (False, 2): "eer_strangers"}.get((same, num_genuine))
        if name is not None:
            scores[name].append(float(unit[first] @ unit[second]))
    found = signatures.figures(embeddings, part)
    for name in signatures.FIGURES:
        targets = [1] * len(scores["positive"]) + [0] * len(scores[name])
        assert found[name] == pytest.approx(equal_error_rate(scores["positive"] + scores[name], targets))
    assert [len(values) for values in scores.values()] == [3 * 6, 3 * 16, 3 * 16]


def test_pairs_to_train_on_are_of_one_writer() -> None:
    part = made()
    pairs = signatures.pairs_of(part).all_pairs()
    assert (part.writers[pairs.first] == part.writers[pairs.second]).all()
    both = part.genuine[pairs.first] & part.genuine[pairs.second]
    assert both.tolist() == (torch.as_tensor(pairs.target) == 1).tolist()
    assert len(pairs.target) == 3 * (6 + 16)


@pytest.mark.slow
def test_every_arm_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRSIM_DATA", raising=False)
    random = np.random.default_rng(0)
    for writer in range(10):
        for kind in ("forged", "genuine"):
            place = tmp_path / "open" / signatures.FOLDER / f"w{writer:03d}_{kind}"
            place.mkdir(parents=True)
            for number in range(4):
                Image.fromarray(random.integers(0, 256, (30, 60), dtype=np.uint8)).save(place / f"{number}.png")
    (tmp_path / "weights").mkdir()
    torch.save(mobilenet_v2().state_dict(), tmp_path / "weights" / "mobilenet_v2.pth")
    single, means = signatures.run(Options(quick=True, data_dir=tmp_path))
    assert len(single.rows) == len(means.rows) == 5
    for row in single.rows:
        assert all(0 <= float(row[name]) <= 1 for name in signatures.FIGURES)
        assert float(row["seconds"]) > 0
    assert [str(row["kept"]).split(": ")[0] in ("frozen", "trained") for row in single.rows[2:4]] == [True, True]


def test_without_the_pictures_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRSIM_DATA", raising=False)
    (table,) = signatures.run(Options(data_dir=tmp_path))
    assert table.rows == ()
    assert "needs open/signatures" in table.notes[0]
