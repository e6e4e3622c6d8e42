"""The Omniglot benchmark on archives of the same form, and its figures on a model whose answers are known."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks import omniglot
from benchmarks.options import Options
from pairsim import SimilarityModel

DRAWERS = 4


def png(code: int, noise: int) -> bytes:
    """A bit pattern as black squares on white, with a few grey pixels of noise in the background."""
    pixels = np.full((35, 35), 255, np.uint8)
    pixels[:4, :4] = 250 - noise
    for bit in range(6):
        if code >> bit & 1:
            pixels[8 + 8 * (bit // 3) :, :][:6, 2 + 8 * (bit % 3) :][:, :6] = 0
    file = io.BytesIO()
    Image.fromarray(pixels > 128).save(file, "PNG")  # one bit a pixel, as Omniglot's
    return file.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "open").mkdir()
    with zipfile.ZipFile(tmp_path / omniglot.PICTURES, "w") as archive:
        for part, shift in (("images_background", 0), ("images_evaluation", 24)):
            for code in range(24):
                for drawer in range(DRAWERS):
                    name = f"{part}/Alphabet{code % 2}__character{code:02}/{code:04}_{drawer + 1:02}.png"
                    archive.writestr(name, png(code + shift, drawer))
    with zipfile.ZipFile(tmp_path / omniglot.RUNS, "w") as archive:
        for run in ("run01", "run02"):
            lines = []
            for item in range(20):
                support = (item * 3 + 1) % 20
                archive.writestr(f"{run}/test/item{item + 1:02}.png", png(support, 1))
                archive.writestr(f"{run}/training/class{support + 1:02}.png", png(support, 2))
                lines.append(f"{run}/test/item{item + 1:02}.png {run}/training/class{support + 1:02}.png")
            archive.writestr(f"{run}/class_labels.txt", "\n".join(lines) + "\n")
    return tmp_path


class Flat(nn.Module):
    """Pixels less their mean, which tell these drawings apart."""

    in_channels, image_size, embedding_dim = 1, (35, 35), 1225

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1) - images.flatten(1).mean(dim=1, keepdim=True)
        return flat + 1e-3


def test_archives_are_read_as_white_on_black(root: Path) -> None:
    data = omniglot.read(root)
    assert data.background.images.shape == (24 * DRAWERS, 1, 35, 35)
    assert len(set(data.evaluation.targets)) == 24
    assert data.background.targets[0] == "Alphabet0__character00"
    assert float(data.background.images.float().mean()) < 128
    assert [len(run.answers) for run in data.runs] == [20, 20]


def test_runs_are_judged_by_their_own_answers(root: Path) -> None:
    data = omniglot.read(root)
    model = SimilarityModel(Flat()).eval()
    assert [omniglot.right(model, run) for run in data.runs] == [20, 20]
    wrong = [omniglot.OneShotRun(run.support, run.queries.flip(0), run.answers) for run in data.runs]
    assert [omniglot.right(model, run) for run in wrong] == [0, 0]


def test_quick(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(omniglot, "QUICK_CHARACTERS", 22)
    monkeypatch.setattr(omniglot, "NUM_PAIRS", 200)
    tables = omniglot.run(Options(quick=True, data_dir=root))
    rows: list[Any] = list(tables[0].rows)
    assert [row["arm"] for row in rows] == [arm.name for arm in omniglot.ARMS]
    for row in rows:
        assert 0 <= row["within_alphabet"] <= 1
        assert 0 <= row["any_low"] <= row["any_characters"] <= row["any_high"] <= 1
        assert 0.3 < row["verification"] <= 1
        assert 0 <= row["any_drawers"] <= 1
    assert [row["seeds"] for row in tables[1].rows] == [1] * len(rows)


def test_without_the_archives_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRSIM_DATA", raising=False)
    for options in (Options(), Options(data_dir=tmp_path)):
        (table,) = omniglot.run(options)
        assert table.rows == ()
        assert "needs open/omniglot-full.zip" in table.notes[0]


def test_episodes_are_within_an_alphabet() -> None:
    labels = np.repeat([f"{alphabet}__{number}" for alphabet in "ab" for number in range(3)], 4)
    own = torch.eye(3).repeat(2, 1).repeat_interleave(4, dim=0)  # both alphabets alike: told apart within each
    assert omniglot.within_alphabets(own, labels, 20) == 1
    same = torch.eye(3)[torch.zeros(24, dtype=torch.long)]
    assert omniglot.within_alphabets(same, labels, 20) == pytest.approx(1 / 3)
    by_drawer = torch.eye(4).repeat(6, 1)
    assert omniglot.within_alphabets(by_drawer, labels, 20) == pytest.approx(1 / 3)


def test_torch_is_left_as_it_was(root: Path) -> None:
    before = torch.get_rng_state()
    omniglot.read(root, quick=True)
    assert torch.equal(torch.get_rng_state(), before)
