from __future__ import annotations

import pytest

from pairsim.training import EpochRecord
from pairsim.training.training_progress import TrainingProgress


def record(val_loss: float | None) -> EpochRecord:
    return EpochRecord(
        epoch=2, train_loss=0.25, val_loss=val_loss, val_balanced_accuracy=None, learning_rate=0.01, best=True
    )


@pytest.mark.parametrize(("val_loss", "expected"), [(0.125, "val loss 0.1250"), (None, "train loss 0.2500")])
def test_images_epoch_and_loss_are_shown_on_stderr(
    capsys: pytest.CaptureFixture[str], val_loss: float | None, expected: str
) -> None:
    progress = TrainingProgress(3, 100, 1, True)
    progress.start_epoch(1)
    progress.add_images(60)
    progress.add_images(40)
    progress.end_epoch(record(val_loss))
    progress.close()
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.split("\r")[-1]
    assert last.startswith("epoch 2/3")
    assert "200/300" in last
    assert " images/s" in last
    assert expected in last


@pytest.mark.parametrize("shown", [False, None])  # stderr is no terminal here
def test_nothing_is_shown_unless_asked_for(capsys: pytest.CaptureFixture[str], shown: bool | None) -> None:
    progress = TrainingProgress(3, 100, 0, shown)
    progress.start_epoch(0)
    progress.add_images(100)
    progress.close()
    assert capsys.readouterr().err == ""
