"""A run, a model and a gallery that version 0.1.0 wrote are still read, and the run is resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from run_command import here

from pairsim import EmbeddingNet, Gallery, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors, load_data
from pairsim.training.checkpointing.run_folder import read_log

STORED = Path(__file__).parents[1] / "data" / "version-0.1.0"
EXPECTED = json.loads((STORED / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def images() -> ImageTensors:
    """The first 300 embedded digits at 8 x 8 pixels, which the run was trained on."""
    pytest.importorskip("sklearn")
    digits = load_data("digits", "train").dataset
    return ImageTensors(digits.images[:300, :, ::2, ::2].contiguous(), digits.targets[:300])


def test_model_gives_the_same_verdicts(images: ImageTensors) -> None:
    model = SimilarityModel.from_pretrained(STORED / "model")
    verdicts = [model.verify(images.images[0], images.images[number]) for number in range(1, 6)]
    assert [verdict.similarity for verdict in verdicts] == pytest.approx(EXPECTED["similarity"], abs=1e-4)
    assert [verdict.probability for verdict in verdicts] == pytest.approx(EXPECTED["probability"], abs=1e-4)
    assert model.threshold == pytest.approx(EXPECTED["threshold"], abs=1e-6)


def test_gallery_finds_the_same_images(images: ImageTensors) -> None:
    gallery = Gallery.load(STORED / "gallery", SimilarityModel.from_pretrained(STORED / "model"))
    assert gallery.search(images.images[6:9], k=2).ids == EXPECTED["search_ids"]


def test_run_is_resumed_in_the_middle_of_its_second_epoch(images: ImageTensors, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(STORED / "run", out)
    config = TrainConfig(
        epochs=4, batch_size=32, out=out, checkpoint_steps=3, progress=False, augment="affine", seed=3, precision="fp32"
    )  # fmt: skip
    trainer = Trainer(SimilarityModel(EmbeddingNet(image_size=8, embedding_dim=8)), config, train=images)
    history = trainer.fit()
    assert f"Resumed in epoch 2 at step {EXPECTED['resume_step']:,}." in history.notes
    assert [record.epoch for record in history.records] == [1, 2, 3, 4]
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
    logged, _ = read_log(out)
    stored = json.loads((STORED / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert logged[0] == stored


def test_commands_read_the_run(tmp_path: Path) -> None:
    shutil.copytree(STORED / "run", tmp_path / "run")
    done = here("card", "run", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    done = here("evaluate", "run", "digits", "--json", cwd=tmp_path)
    assert (done.status, "Expected images of 8 x 8 pixels, got [256, 1, 16, 16]" in done.err) == (1, True)
