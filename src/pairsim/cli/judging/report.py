"""`pairsim report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pairsim._common.choices import Split
from pairsim.cli.output import UsageError, note, print_result
from pairsim.models import SimilarityModel
from pairsim.report import write_report
from pairsim.runs.run_data import load_labelled


def report(
    run: Path,
    data: str,
    /,
    *,
    out: Path | None = None,
    split: Split = "test",
    title: str | None = None,
    most: int = 12,
    batch_size: int | None = None,
    device: str = "auto",
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write one HTML page on a run that can be sent: figures with intervals, a threshold to move, worst mistakes.

    The page loads nothing from elsewhere. The figures are measured now, on all pairs of the images.

    Args:
        run: Run or model folder.
        data: mnist, fashion-mnist, digits, or a folder with one sub-folder per class (or train, val, test above those).
        out: The page to write, ending in .html.
        split: Which images: test, val or train.
        title: Of the page; by default the name of the run.
        most: Mistakes of each kind, and label suspects, to show at most.
        batch_size: Images embedded at once; by default what suits the device.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        data_dir: Where mnist and fashion-mnist are kept; else PAIRSIM_DATA, else the user's cache.
        json: Print one JSON object.
    """
    if out is None:
        raise UsageError("Expected --out FILE.html, the page to write, found none.")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"Expected --out to end in .html, got {out}.")
    if most < 1:
        raise UsageError(f"Expected --most to be at least 1, got {most}.")
    loaded = load_labelled(SimilarityModel.from_pretrained(run), data, split, data_dir)
    note(f"Judging all pairs of {len(loaded.dataset):,} images.")
    findings = write_report(
        run,
        loaded.dataset,
        out,
        names=loaded.class_names,
        title=title,
        data=data,
        split=split,
        source=loaded.source,
        most=most,
        batch_size=batch_size,
        device=device,
    )
    figures = findings.figures.to_dict()
    text = f"Wrote {out}, {out.stat().st_size / 1e6:.1f} MB."
    print_result({"out": str(out), "bytes": out.stat().st_size, "metrics": figures}, text, as_json=json)
