"""`pairsim duplicates`."""

from __future__ import annotations

from pathlib import Path

import pairsim
from pairsim._common.choices import OnError
from pairsim.cli.arguments import Device, Json, Pictures, check_out, load_model
from pairsim.cli.output import expect, note, print_result


def duplicates(
    folder: Pictures,
    /,
    *,
    run: Path | None = None,
    threshold: float | None = None,
    target_false_rate: float | None = None,
    out: Path | None = None,
    on_error: OnError = "raise",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find pictures that a folder has more than once, exactly or nearly; nothing is deleted.

    Each cluster names the picture to keep (the largest) and those that could be removed, as they are like it. Pictures
    that were rotated, mirrored or cropped are not found.

    For example:

        pairsim duplicates photos

        pairsim duplicates photos --out duplicates.csv --on-error skip

        pairsim duplicates photos --run runs/faces --threshold 0.999

    Args:
        run: Run or model folder, to compare pictures by its model, on --device; by default their pixels are compared.
        threshold: Similarity from which pictures are near-duplicates: 0.99 by default; required with --run, where 0.999
            is a good start.
        target_false_rate: Instead of --threshold, the share of pairs of different pictures that may be duplicates by
            chance, such as 1e-7. It is measured on these pictures, and so is which copies are found; this takes a few
            minutes.
        out: CSV file for the clusters: cluster, file, similarity, kind, keep.
        on_error: "raise" stops at a picture or folder that cannot be read; "skip" leaves it out and names it.
    """
    expect(
        target_false_rate is None or (threshold is None and run is None),
        "--target-false-rate without --threshold and --run, as it chooses a threshold for pixels. Give one only.",
    )
    if target_false_rate is not None:
        expect(
            0.0 < target_false_rate < 1.0, f"--target-false-rate to be above 0 and below 1, got {target_false_rate}."
        )
    expect(
        run is None or threshold is not None,
        "--threshold with --run, because the model's own separates classes, not duplicates. Start with 0.999.",
    )
    if threshold is not None and run is None:
        expect(0.0 < threshold <= 1.0, f"--threshold to be above 0 and at most 1, got {threshold}.")
    elif threshold is not None:
        expect(-1.0 <= threshold <= 1.0, f"--threshold to be in [-1, 1] with --run, got {threshold}.")
    if out is not None:
        check_out(out)
    from pairsim.images.folders import account

    model = None if run is None else load_model(run, device)
    report = pairsim.find_duplicates(
        folder, model=model, threshold=threshold, target_false_rate=target_false_rate, on_error=on_error
    )
    if out is not None:
        report.to_csv(out)
        note(f"Clusters written to {out}.")
    note(account(folder, report.num_images + len(report.skipped), report.left_out))
    print_result(report.to_dict(), report.describe(), json)
