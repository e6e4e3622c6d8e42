"""One picture, two files and whole processes: the arms do the same work. No test asserts a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import commands, one_picture
from benchmarks.options import Options
from pairsim import EmbeddingNet, SimilarityModel
from pairsim.images import Preprocessing


@pytest.mark.parametrize(("shape", "size"), [((28, 28, 1), (28, 28)), ((30, 40, 3), (32, 24))])
def test_the_bare_loop_gives_the_similarity_of_verify(
    tmp_path: Path, shape: tuple[int, int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    channels = shape[2]
    preprocessing = Preprocessing(image_size=size, channels=channels, mean=(0.4,) * channels, std=(0.3,) * channels)
    model = SimilarityModel(EmbeddingNet(in_channels=channels, image_size=size), preprocessing=preprocessing).eval()
    files = one_picture.pictures(tmp_path, shape)
    first, second = (model.preprocessing.read(file) for file in files)
    assert not torch.equal(first, second)
    assert one_picture.bare(model, files) == pytest.approx(model.verify(*files).similarity, abs=1e-5)


@pytest.mark.slow
def test_every_arm_is_timed() -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    one, two = one_picture.run(Options(quick=True, rounds=2))
    assert [row["arm"] for row in one.rows] == [one_picture.SESSION, one_picture.ENCODE, one_picture.ENCODE_ONNX]
    assert [row["arm"] for row in two.rows] == [one_picture.BARE, one_picture.VERIFY, one_picture.VERIFY_ONNX]
    assert [one.title, two.title] == ["One picture, reference network", "Two files, reference network"]


@pytest.mark.slow
def test_commands_are_run() -> None:
    table, training = commands.run(Options(quick=True, rounds=1))
    arms = [row["arm"] for row in table.rows]
    assert arms[:3] == [commands.BOTH, commands.TORCH, commands.COMPARE]
    assert {"pairsim --version", "pairsim --help", "pairsim train --help"} == set(arms[3:])
    assert table.rows[0]["times"] == 1.0
    assert all(row["seconds"] > 0 and row["processor_seconds"] > 0 for row in table.rows)
    assert (training.rows, training.title) == ((), commands.TRAINING)
    assert "not --quick" in training.notes[0]
