from __future__ import annotations

from pathlib import Path

import pytest
from number_data import history, off_place, panels

from pairsim.errors import RunError
from pairsim.training.history import History
from pairsim.visual import draw_training_curves


def write_log(folder: Path, run: History) -> Path:
    folder.mkdir(exist_ok=True)
    log = folder / "log.jsonl"
    log.write_text("".join(record.to_json() + "\n" for record in run), encoding="utf-8")
    return log


def test_every_figure_of_the_log_is_drawn_at_its_epoch() -> None:
    run = history(5, best=3)
    figure = draw_training_curves(run)
    loss, accuracy, rate = panels(figure)
    train, val = loss.lines[:2]
    assert [str(line.get_label()) for line in (train, val)] == ["training", "validation"]
    for line in (train, val, accuracy.lines[0], rate.lines[0]):
        assert list(line.get_xdata()) == [1, 2, 3, 4, 5]
    assert list(train.get_ydata()) == [record.train_loss for record in run]
    assert list(val.get_ydata()) == [record.val_loss for record in run]
    assert accuracy.lines[0].get_ydata() == pytest.approx([100 * (record.val_balanced_accuracy or 0) for record in run])
    assert list(rate.lines[0].get_ydata()) == [record.learning_rate for record in run]
    assert train.get_linestyle() != val.get_linestyle()
    assert train.get_marker() != val.get_marker()
    assert rate.get_yscale() == "log"
    assert not off_place(figure)


def test_the_best_epoch_is_marked_in_every_panel() -> None:
    run = history(5, best=3)
    figure = draw_training_curves(run)
    (star,) = [line for line in panels(figure)[0].lines if line.get_label() == "best epoch"]
    assert star.get_xydata().tolist() == [[3, run.records[2].val_loss]]
    for axes in panels(figure):
        assert any(list(line.get_xdata()) == [3, 3] for line in axes.lines)
    (said,) = [text.get_text() for text in panels(figure)[0].texts]
    assert said == "best epoch: 3, validation loss 0.2000, balanced accuracy 93.33 %"


def test_of_several_best_epochs_the_last_one_was_kept() -> None:
    run = History([*history(2, best=1), *history(4, best=4).records[2:]])
    (said,) = [text.get_text() for text in panels(draw_training_curves(run))[0].texts]
    assert said.startswith("best epoch: 4")


@pytest.mark.parametrize("validated", [True, False])
def test_one_epoch_is_enough(validated: bool) -> None:
    figure = draw_training_curves(history(1, best=1, validated=validated))
    assert len(panels(figure)) == (3 if validated else 2)
    assert panels(figure)[0].get_title(loc="left") == "Training: 1 epoch"
    assert panels(figure)[0].lines[0].get_marker() == "o"
    assert not off_place(figure)
    assert "1" in [text.get_text() for text in panels(figure)[-1].get_xticklabels()]


def test_a_run_folder_and_its_log_give_the_figure_of_its_history(tmp_path: Path) -> None:
    run = history(3, best=2)
    log = write_log(tmp_path / "run", run)
    for source in (log.parent, str(log)):
        assert [list(line.get_ydata()) for line in panels(draw_training_curves(source))[0].lines] == [
            list(line.get_ydata()) for line in panels(draw_training_curves(run))[0].lines
        ]


def test_a_learning_rate_of_zero_is_on_a_linear_axis() -> None:
    run = history(2, best=1)
    records = [*run.records[:1], run.records[1].__class__(**{**vars(run.records[1]), "learning_rate": 0.0})]
    assert panels(draw_training_curves(History(records)))[-1].get_yscale() == "linear"


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"Expected the log of a run at .*log.jsonl, found no such file"):
        draw_training_curves(tmp_path)
    log = write_log(tmp_path / "run", history(2))
    log.write_text(log.read_text(encoding="utf-8") + '{"epoch": 3}\n', encoding="utf-8")
    with pytest.raises(RunError, match="found something else on line 3"):
        draw_training_curves(log)
    log.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="Expected at least one epoch, got none"):
        draw_training_curves(log)
