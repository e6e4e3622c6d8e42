from __future__ import annotations

import json

import pytest

from pairsim import History
from pairsim.training import EpochRecord


def record(epoch: int, *, best: bool, val_loss: float | None = 0.5) -> EpochRecord:
    return EpochRecord(
        epoch=epoch, train_loss=0.25, val_loss=val_loss, val_balanced_accuracy=0.75, learning_rate=0.01, best=best
    )


def test_a_record_is_one_line_of_json() -> None:
    line = record(3, best=True, val_loss=None).to_json()
    assert "\n" not in line
    assert json.loads(line) == {
        "epoch": 3,
        "train_loss": 0.25,
        "val_loss": None,
        "val_balanced_accuracy": 0.75,
        "learning_rate": 0.01,
        "best": True,
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        record(1, best=False, val_loss=float("nan")).to_json()


def test_the_best_epoch_is_the_last_that_was_the_best_so_far() -> None:
    records = [record(1, best=True), record(2, best=True), record(3, best=False)]
    history = History(records)
    assert history.best is records[1]
    assert History(records[2:]).best is None
    assert History().best is None
    assert (len(history), list(history)) == (3, records)


def test_values_for_json() -> None:
    history = History([record(1, best=True)], [2.5], [0.125], 40, ["a note"])
    values = history.to_dict()
    assert values == {
        "epochs": [history.records[0].to_dict()],
        "seconds": [2.5],
        "waiting": [0.125],
        "notes": ["a note"],
    }
    assert json.loads(json.dumps(values)) == values
