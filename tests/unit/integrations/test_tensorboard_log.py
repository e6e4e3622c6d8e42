"""What TensorBoard is given is what the history says."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.errors import MissingExtraError
from pairsim.integrations.tensorboard_log import TensorBoardLog

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own packages
needs_tensorboard = pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs tensorboard")


@needs_tensorboard
def test_scalars_figures_and_embeddings_are_written(digits: ImageTensors, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = SimilarityModel(EmbeddingNet(image_size=8, embedding_dim=8))
    config = TrainConfig(out=tmp_path / "run", epochs=2, batch_size=20, precision="fp32")
    log = TensorBoardLog(images=digits)
    history = Trainer(model, config, train=digits, callbacks=[log]).fit()
    assert log.folder == tmp_path / "run" / "tensorboard"
    events = EventAccumulator(str(log.folder)).Reload()
    for name, field in (("loss/training", "train_loss"), ("loss/validation", "val_loss")):
        written = [(event.step, event.value) for event in events.Scalars(name)]
        assert written == [(record.epoch, pytest.approx(getattr(record, field), rel=1e-6)) for record in history]
    assert {"training", "class similarity"} <= set(events.Tags()["images"])
    folder = next(log.folder.glob("00002/default"))
    assert len((folder / "metadata.tsv").read_text().splitlines()) == len(digits)
    assert len((folder / "tensors.tsv").read_text().splitlines()) == len(digits)
    assert (folder / "sprite.png").is_file()


@needs_tensorboard
def test_training_is_the_same_with_it(digits: ImageTensors, tmp_path: Path) -> None:
    losses = []
    for callbacks in ([], [TensorBoardLog(tmp_path / "log")]):
        torch.manual_seed(0)
        model = SimilarityModel(EmbeddingNet(image_size=8, embedding_dim=8))
        config = TrainConfig(epochs=1, batch_size=20, precision="fp32")
        losses.append([r.train_loss for r in Trainer(model, config, train=digits, callbacks=callbacks).fit()])
    assert losses[0] == losses[1]


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'pairsim\[tensorboard\]'"):
        TensorBoardLog()


@needs_tensorboard
def test_embeddings_of_another_model_have_no_pictures(tmp_path: Path) -> None:
    vectors = ImageTensors(torch.randn(24, 4, 1, 1), [0, 1, 2] * 8)
    model = SimilarityModel(EmbeddingNet("embeddings", in_channels=4, image_size=1, embedding_dim=8))
    log = TensorBoardLog(tmp_path / "log", images=vectors)
    Trainer(model, TrainConfig(epochs=1, batch_size=12, precision="fp32"), train=vectors, callbacks=[log]).fit()
    folder = next(log.folder.glob("00001/default"))
    assert len((folder / "tensors.tsv").read_text().splitlines()) == 24
    assert not (folder / "sprite.png").exists()
