"""Write the HTML page on searches in a gallery: errors with intervals, curves, tables, and how they were measured."""

from __future__ import annotations

import datetime
import math
import os
from pathlib import Path

import numpy as np
import torch

from pairsim._common import storage
from pairsim._common.environment import describe_environment
from pairsim.report.charts import Axis, Band, Line, Mark, draw_chart, nice_ticks
from pairsim.report.rendering import page_path, percent, render
from pairsim.search import IdentificationReport
from pairsim.search.identification.identification_report import RatesAt

_TABLE_FPIR = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def write_identification_report(
    report: IdentificationReport,
    out: str | os.PathLike[str],
    *,
    gallery: str = "",
    data: str = "",
    title: str | None = None,
    device: str = "cpu",
) -> None:
    """Write one HTML page on the errors of a gallery.

    The page needs no other file, and no script.

    Args:
        report: Result of `evaluate_gallery`.
        out: The page to write, `.html`; an existing one is replaced.
        gallery: Name of the gallery on the command line.
        data: Name of the pictures that were searched for on the command line.
        title: Title of the page; by default made from the name of the gallery.
        device: Device that the pictures were embedded on.

    Raises:
        RunError: If the page cannot be written.
        ValueError: If `out` does not end in .html or .htm.
    """
    path = page_path(out)
    name = Path(gallery).name
    page = render(
        "identification.html",
        title=title or f"Identification report{f': {name}' if name else ''}",
        gallery=gallery,
        data=data,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        environment=describe_environment(torch.device(device)),
        report=report,
        conditions=report.conditions,
        curves=curves(report),
        points=points(report),
        ranks=[(rank, share) for rank, share in enumerate(report.cmc, 1) if rank <= 5 or rank % 5 == 0],
    )
    storage.write_file(path, storage.encoded(page))


def curves(report: IdentificationReport) -> list[tuple[str, str]]:
    """Draw FPIR against FNIR and the CMC, each with its caption, as far as there are such searches."""
    drawn = []
    if report.num_mated and report.num_non_mated:
        drawn.append(
            (
                error_curve(report),
                f"For a gallery of {report.num_enrolled:,} identities, from {report.num_mated:,} mated and "
                f"{report.num_non_mated:,} non-mated searches. The band encloses the 95 % intervals of both rates "
                "at each threshold. Rates of 0 are outside the axes.",
            )
        )
    if report.num_mated:
        caption = (
            f"For a gallery of {report.num_enrolled:,} identities, from {report.num_mated:,} mated searches, whatever "
            "the threshold."
        )
        drawn.append((match_curve(report), caption))
    return drawn


def error_curve(report: IdentificationReport) -> str:
    """Draw FPIR against FNIR at all thresholds on logarithmic axes, with the threshold of the report."""
    fpir, fnir = np.array([(at.fpir, at.fnir) for at in report.curve]).T
    axes = []
    for name, rates in (("FPIR", fpir), ("FNIR", fnir)):
        lowest = min(math.floor(math.log10(float(rates[rates > 0].min(initial=1.0)))), -1)
        decades = tuple(10.0**power for power in range(lowest, 1))
        kind = "positive" if name == "FPIR" else "negative"
        label = f"false {kind} identification rate, {name}"
        axes.append(Axis(label=label, low=decades[0], high=1.0, scale="log", percent=True, ticks=decades))
    x, y = axes
    known = not math.isnan(report.threshold)
    at = max(report.fpir, x.low), max(report.fnir, y.low)
    ends = [np.maximum(interval, 1e-9) for interval in (report.fpir_interval, report.fnir_interval)]
    crosses = [
        Line(name="", x=ends[0].clip(x.low), y=np.full(2, at[1]), kind="interval"),
        Line(name="", x=np.full(2, at[0]), y=ends[1].clip(y.low), kind="interval"),
    ]
    summary = "False negative over false positive identification rate, both on logarithmic axes"
    if known:
        summary += f"; at the threshold the FPIR is {percent(report.fpir, 2)} and the FNIR {percent(report.fnir, 2)}"
    return draw_chart(
        "FPIR and FNIR at all thresholds",
        x,
        y,
        [Line(name="all thresholds", x=fpir, y=fnir), *(crosses if known else ())],
        bands=[Band(name="95 % intervals", outline=report.band)],
        marks=[Mark(x=at[0], y=at[1], text="threshold", falling=True)] if known else (),
        note="" if ((fpir > 0) & (fnir > 0)).any() else "at every threshold a rate is 0 %: outside the axes",
        name="fpir-fnir",
        summary=f"{summary}.",
    )


def match_curve(report: IdentificationReport) -> str:
    """Draw the share of searches with the right identity up to each rank."""
    shares, ends = np.array(report.cmc), np.array(report.rank_1_interval)
    lowest = float(np.nanmin([report.rank_1, *ends]))
    low = next((share for share in (0.98, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2) if share < lowest), 0.0)
    high, last = 1.0 + 0.04 * (1.0 - low), len(shares)
    ranks = [1, *range(5, last + 1, 5)] if last > 8 else range(1, last + 1)
    return draw_chart(
        "Cumulative match characteristic (CMC)",
        Axis(label="rank", low=0.5, high=last + 0.5, ticks=tuple(map(float, ranks))),
        Axis(label="share with the right identity", low=low, high=high, ticks=nice_ticks(low, 1.0), percent=True),
        [
            Line(name="up to that rank", x=np.arange(1.0, last + 1), y=shares, dots=True),
            Line(name="95 % interval of rank-1", x=np.ones(2), y=ends, kind="second"),
        ],
        marks=[Mark(x=1.0, y=report.rank_1, text=f"rank-1 {percent(report.rank_1, 2)}")],
        name="cmc",
        summary=f"Share of searches with the right identity up to each rank: {percent(report.rank_1, 2)} at rank 1, "
        f"{percent(report.cmc[-1], 2)} at rank {last}.",
    )


def points(report: IdentificationReport) -> list[RatesAt]:
    """Return the points of the curve for the table: those with the highest FPIR of at most 0.1 %, 0.2 %, 0.5 %, ..."""
    chosen: dict[float, RatesAt] = {}
    if report.num_mated and report.num_non_mated:
        for target in _TABLE_FPIR:
            below = [at for at in report.curve if at.fpir <= target * (1 + 1e-9)]
            if below:
                chosen[below[-1].threshold] = below[-1]
    return list(chosen.values())
