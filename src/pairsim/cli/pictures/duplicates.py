"""`pairsim duplicates`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pairsim._common.devices import resolve_device
from pairsim.audits.duplicate_search import find_duplicates
from pairsim.cli.output import UsageError, note, print_result
from pairsim.models import SimilarityModel


def duplicates(
    folder: Path,
    /,
    *,
    run: Path | None = None,
    threshold: float | None = None,
    out: Path | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Find pictures that a folder has more than once, exactly or nearly; nothing is deleted.

    Each cluster names the picture to keep (the largest) and those that could go, as they are like it. Pictures that
    were turned, mirrored or cropped are not found.

    For example:

        pairsim duplicates photos

        pairsim duplicates photos --out duplicates.csv --on-error skip

        pairsim duplicates photos --run runs/faces --threshold 0.999

    Args:
        folder: Folder of pictures, with all of its sub-folders.
        run: Run or model folder, to compare pictures by its model; by default their pixels are compared.
        threshold: Similarity from which pictures are near-duplicates: 0.99 by default; needed with --run, where 0.999
            is a start.
        out: CSV file for the clusters: cluster, file, similarity, kind, keep.
        on_error: "raise" stops at a picture that cannot be read; "skip" leaves it out and names it.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps"; for --run.
        json: Print one JSON object.
    """
    if run is not None and threshold is None:
        raise UsageError(
            "Expected --threshold with --run, as the model's own tells classes apart, not duplicates. "
            "Begin with --threshold 0.999."
        )
    if threshold is not None and run is None and not 0.0 < threshold <= 1.0:
        raise UsageError(f"Expected --threshold to be above 0 and at most 1, got {threshold}.")
    if threshold is not None and not -1.0 <= threshold <= 1.0:
        raise UsageError(f"Expected --threshold to be in [-1, 1] with --run, got {threshold}.")
    model = None if run is None else SimilarityModel.from_pretrained(run).to(resolve_device(device))
    report = find_duplicates(folder, model=model, threshold=threshold, on_error=on_error)
    if out is not None:
        report.to_csv(out)
        note(f"Clusters written to {out}.")
    print_result(report.to_dict(), report.describe(), as_json=json)
