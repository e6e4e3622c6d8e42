"""What `pairsim train` says and writes of a training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.cli.training import fitting
from pairsim.cli.training.fitting import Fitted, best_lines, write_pages
from pairsim.data import ImageTensors, LabelledImages
from pairsim.data.image_sets import LabelledData
from pairsim.training import EpochRecord, History


def history(*losses: float) -> History:
    found = History()
    for number, loss in enumerate(losses, 1):
        best = loss == min(losses[:number])
        record = EpochRecord(
            epoch=number,
            train_loss=1.0,
            val_loss=loss,
            val_balanced_accuracy=0.75,
            learning_rate=1e-3,
            best=best,
        )
        found.records.append(record)
    return found


def test_the_best_epoch_comes_first_and_advice_last() -> None:
    assert best_lines(History(), overfits=True, between=["Kept."]) == ["Kept."]
    late = best_lines(history(*(9.0 - number for number in range(9)), 0.5), overfits=True, between=["Kept."])
    assert late == ["Best epoch 10 of 10. On validation pairs: balanced accuracy 0.7500, loss 0.5000.", "Kept."]
    early = history(0.5, *(9.0,) * 9)
    assert best_lines(early, overfits=False, between=[]) == [
        "Best epoch 1 of 10. On validation pairs: balanced accuracy 0.7500, loss 0.5000."
    ]
    assert best_lines(early, overfits=True, between=[])[1].startswith("After that it overfitted")
    assert len(best_lines(history(0.5, 9.0), overfits=True, between=[])) == 1  # too few epochs to tell


@pytest.mark.parametrize(("limit", "message"), [(None, "found fewer"), (3, "4 validation images are more than 3")])
def test_a_report_that_cannot_be_written_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limit: int | None, message: str
) -> None:
    images = LabelledImages.of(ImageTensors(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), [0, 0, 1, 1]))
    named = LabelledData(dataset=images, class_names=("a", "b"), image_size=(8, 8), channels=1, source="here")
    if limit is not None:
        monkeypatch.setattr(fitting, "_MAX_REPORTED", limit)
    shown = None if limit is None else images
    fitted = Fitted(history=History(), shown=shown, named=named, figures={}, lines=[])
    assert write_pages(tmp_path, SimilarityModel(EmbeddingNet(image_size=8)), "here", fitted) == []
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
