"""A figure of the progress of training."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairsim._common import storage
from pairsim._common.json_files import read_sealed_lines
from pairsim.errors import RunError
from pairsim.training.checkpointing.run_folder import read_log
from pairsim.training.history import EpochRecord, History
from pairsim.visual.page.plot import LINES, THRESHOLD_LINE, Plot, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_MARKED = 40
"""Maximum number of epochs whose values are marked one by one."""


def draw_training_curves(
    run: History | str | os.PathLike[str],
    *,
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw loss, validation balanced accuracy and learning rate over the epochs of a run.

    A line and a star mark the best epoch, whose model was kept. A run without validation data has no panel of balanced
    accuracy.

    Args:
        run: The result of `Trainer.fit`, or a run folder, or its `log.jsonl`; also of a run that is not finished.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose lower parts are used for the other panels, and whose figure gets the background
            of the style; by default a new figure.

    Returns:
        The figure; a new figure belongs to no window.

    Raises:
        RunError: If there is no log, or one of its lines is not an epoch.
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
    validated = any(record.val_balanced_accuracy is not None for record in records)
    height, ylabels, heights = 6.4, ["loss", "balanced\naccuracy (%)", "learning\nrate"], [1.6, 1.1, 0.8]
    if not validated:
        height, ylabels, heights = 4.8, ylabels[::2], heights[::2]
    plot = Plot(ax, style, size=(6.4, height), xlabel="epoch", ylabels=ylabels, heights=heights)
    from matplotlib.ticker import MaxNLocator

    panels, palette = plot.panels, plot.palette
    loss, rate = panels[0], panels[-1]

    def draw(panel: Axes, number: int, name: str, *, factor: int = 1, label: str = "") -> None:
        """Draw the values of a column, of the epochs that have one."""
        points = [(record.epoch, factor * value) for record in records if (value := getattr(record, name)) is not None]
        if points:
            marker = "os^"[number] if len(points) <= _MAX_MARKED else None
            look: dict[str, Any] = {"color": palette.series[number], "linestyle": LINES[number], "marker": marker}
            panel.plot(*zip(*points, strict=True), **look, linewidth=1.6, markersize=4.5, label=label, zorder=3)

    draw(loss, 0, "train_loss", label="training")
    draw(loss, 1, "val_loss", label="validation")
    if validated:
        draw(panels[1], 1, "val_balanced_accuracy", factor=100)
    draw(rate, 2, "learning_rate")
    if all(record.learning_rate > 0 for record in records):
        rate.set_yscale("log")
        rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")

    best, subtitle = History(records).best, ""
    if best is not None:
        star = best.train_loss if best.val_loss is None else best.val_loss
        look: dict[str, Any] = {"markersize": 13, "markerfacecolor": palette.page, "markeredgecolor": palette.ink}
        loss.plot(best.epoch, star, "*", **look, markeredgewidth=1.2, zorder=5, label="best epoch")
        subtitle = f"best epoch: {best.epoch}"
        if best.val_loss is not None:
            subtitle += f", validation loss {best.val_loss:.4f}"
        if best.val_balanced_accuracy is not None:
            subtitle += f", balanced accuracy {100 * best.val_balanced_accuracy:.2f} %"
    epochs = [record.epoch for record in records]
    first, last = min(epochs), max(epochs)
    margin = max(0.3, 0.03 * (last - first))
    for panel in panels:
        if best is not None:
            panel.axvline(best.epoch, color=palette.quiet, linewidth=1.1, linestyle=THRESHOLD_LINE, zorder=1)
        panel.set_xlim(first - margin, last + margin)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
        panel.tick_params(axis="x", labelbottom=panel is rate)
    count = f"{len(records)} epoch{'s' if len(records) != 1 else ''}"
    return plot.finish(title or f"Training: {count}", subtitle=subtitle, columns=3)


def _read_log(path: Path) -> list[EpochRecord]:
    log = path / "log.jsonl" if storage.is_folder(path) else path
    if not storage.is_file(log):
        raise RunError(
            f"Expected the log of a run at {log}, found no such file. Pass a run folder, or what Trainer.fit returned."
        )
    lines = read_log(path)[0] if storage.is_folder(path) else read_sealed_lines(log)
    records, known = list[EpochRecord](), {column.name for column in fields(EpochRecord)}
    for number, values in enumerate(lines, 1):
        try:
            records.append(EpochRecord(**{name: value for name, value in values.items() if name in known}))
        except TypeError as error:
            raise RunError(
                f"Expected one epoch of a training run on each line of {log}, found something else on line {number}. "
                "Pass the log.jsonl of a run folder."
            ) from error
    return records
