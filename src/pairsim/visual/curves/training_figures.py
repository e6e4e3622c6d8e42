"""A figure of how training went."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairsim.errors import RunError, require
from pairsim.training.history import EpochRecord, History
from pairsim.visual.page.style import LINES, Palette, Style, dress, figure_of, open_axes, palette_of, write_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOG = "log.jsonl"
_MOST_MARKED = 40
"""Epochs whose values are marked one by one."""


def draw_training_curves(
    run: History | str | os.PathLike[str],
    *,
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw loss, validation balanced accuracy and learning rate over the epochs of a run.

    The epoch whose model was kept is marked with a line and a star. A run without validation data has no panel of
    balanced accuracy.

    Args:
        run: What `Trainer.fit` returned, or a run folder, or its `log.jsonl`; also of a run that is still going on.
        title: Title; a plain one by default.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose lower parts go to the other panels; by default a new figure.

    Returns:
        The figure drawn on; one of its own belongs to no window.

    Raises:
        RunError: If there is no log, or a line of it is not an epoch.
        ValueError: If there is no epoch yet, or `style` is wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> from pairsim.training.history import EpochRecord, History
        >>> record = EpochRecord(
        ...     epoch=1, train_loss=0.3, val_loss=0.2, val_balanced_accuracy=0.9, learning_rate=0.01, best=True
        ... )
        >>> len(draw_training_curves(History([record])).axes)
        3
    """
    records = list(run) if isinstance(run, History) else _read_log(Path(run))
    if not records:
        raise ValueError("Expected at least one epoch, got none. Draw the run when its first epoch is done.")
    palette = palette_of(style)
    validated = [record for record in records if record.val_loss is not None]
    judged = [record for record in records if record.val_balanced_accuracy is not None]
    heights = (1.6, 1.1, 0.8) if judged else (1.6, 0.8)
    panels = open_axes(ax, palette, width=6.4, height=6.4 if judged else 4.8, heights=heights)
    loss, rate = panels[0], panels[-1]

    _line(loss, palette, 0, records, values=[record.train_loss for record in records], label="training")
    if validated:
        _line(loss, palette, 1, validated, values=[record.val_loss for record in validated], label="validation")
    dress(loss, palette, xlabel="", ylabel="loss")
    if judged:
        shares = [100 * record.val_balanced_accuracy for record in judged if record.val_balanced_accuracy is not None]
        _line(panels[1], palette, 1, judged, values=shares)
        dress(panels[1], palette, xlabel="", ylabel="balanced\naccuracy (%)")
    _line(rate, palette, 2, records, values=[record.learning_rate for record in records])
    if all(record.learning_rate > 0 for record in records):
        rate.set_yscale("log")
        rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    dress(rate, palette, xlabel="epoch", ylabel="learning\nrate")

    best = next((record for record in reversed(records) if record.best), None)
    subtitle = ""
    if best is not None:
        subtitle = _mark_best(panels, palette, best)
    ticker = require("matplotlib.ticker", extra="viz", purpose="Drawing")
    last = max(record.epoch for record in records)
    for axes in panels:
        first = min(record.epoch for record in records)
        room = max(0.3, 0.03 * (last - first))
        axes.set_xlim(first - room, last + room)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
        axes.tick_params(axis="x", labelbottom=axes is rate)
    count = f"{len(records)} epoch{'s' if len(records) != 1 else ''}"
    write_head(loss, palette, title=title or f"Training: {count}", subtitle=subtitle, columns=3)
    return figure_of(loss)


def _line(
    axes: Axes, palette: Palette, look: int, records: list[EpochRecord], *, values: list[Any], label: str | None = None
) -> None:
    axes.plot(
        [record.epoch for record in records], values, color=palette.series[look], linestyle=LINES[look], linewidth=1.6,
        marker="os^"[look] if len(records) <= _MOST_MARKED else None, markersize=4.5, label=label, zorder=3,
    )  # fmt: skip


def _mark_best(panels: list[Axes], palette: Palette, best: EpochRecord) -> str:
    """Mark the epoch that was kept, and say what it reached."""
    said = [f"best epoch: {best.epoch}"]
    for axes in panels:
        axes.axvline(best.epoch, color=palette.quiet, linewidth=1.1, linestyle=(0, (8, 2, 2, 2)), zorder=1)
    value = best.train_loss if best.val_loss is None else best.val_loss
    panels[0].plot(
        [best.epoch], [value], linestyle="", marker="*", markersize=13, markerfacecolor=palette.page,
        markeredgecolor=palette.ink, markeredgewidth=1.2, zorder=5, label="best epoch",
    )  # fmt: skip
    if best.val_loss is not None:
        said.append(f"validation loss {best.val_loss:.4f}")
    if best.val_balanced_accuracy is not None:
        said.append(f"balanced accuracy {100 * best.val_balanced_accuracy:.2f} %")
    return ", ".join(said)


def _read_log(path: Path) -> list[EpochRecord]:
    log = path / _LOG if path.is_dir() else path
    if not log.is_file():
        raise RunError(
            f"Expected the log of a run at {log}, found no such file. Pass a run folder, or what Trainer.fit returned."
        )
    wanted = {column.name for column in fields(EpochRecord)}
    records = []
    for number, line in enumerate(filter(str.strip, log.read_text(encoding="utf-8").splitlines()), 1):
        try:
            values = json.loads(line)
            records.append(EpochRecord(**{name: values[name] for name in wanted}))
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"Expected one epoch of a training run on each line of {log}, found something else on line {number}. "
                "Pass the log.jsonl of a run folder."
            ) from error
    return records
