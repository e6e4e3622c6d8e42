"""Evaluate a run on data and write the HTML report."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairsim._common import storage
from pairsim._common.devices import resolve_device
from pairsim._common.environment import describe_environment
from pairsim.models import SimilarityModel
from pairsim.report.findings import Findings, find
from pairsim.report.page import page_values
from pairsim.report.rendering import render
from pairsim.runs.run_records import read_run


def write_report(
    run: str | os.PathLike[str],
    dataset: Any,
    out: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
    data: str = "",
    split: str = "",
    source: str = "",
    most: int = 12,
    batch_size: int | None = None,
    model: SimilarityModel | None = None,
    device: str = "auto",
    progress: bool | None = None,
) -> Findings:
    """Evaluate a model on all pairs of labelled images, and write one HTML page that needs no other file.

    Args:
        run: Run folder, or model folder.
        dataset: Labelled images on which the model was not trained.
        out: The page to write, `.html`; an existing one is replaced.
        names: A name for each class, in the order of the sorted labels; by default the labels.
        title: Title of the page; by default made from the name of the run.
        data: Name of the data on the command line, for "how to reproduce".
        split: Split of the data: "test", "val" or "train".
        source: Origin of the images, in words.
        most: Maximum number of errors of each kind, and of label suspects.
        batch_size: Images embedded at once; by default a size that suits the device.
        model: The model of the run where it is loaded already; it stays on its device, and `device` is ignored. By
            default it is loaded from `run`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The data of the page.

    Raises:
        DataError: If there are fewer than two images, names do not fit, or the model has no threshold.
        RunError: If there is no model, or the page cannot be written.
        ValueError: If `out` does not end in .html or .htm.
    """
    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"Expected out to end in .html, got {path.name}. Choose such a name.")
    where = resolve_device(device) if model is None else model.device
    records = read_run(run)
    if model is None:
        model = SimilarityModel.from_pretrained(run).to(where)
    findings = find(model, dataset, names=names, most=most, batch_size=batch_size, progress=progress)
    page = render(
        "page.html",
        title=title or f"Similarity report: {records.name}",
        data=data,
        split=split,
        source=source,
        environment=describe_environment(where),
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **page_values(findings, records),
    )
    storage.write_file(path, page.encode("utf-8"))
    return findings
