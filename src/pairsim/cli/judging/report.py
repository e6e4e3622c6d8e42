"""`pairsim report`."""

from __future__ import annotations

import shlex
from pathlib import Path

from pairsim._common.choices import Split
from pairsim.cli.arguments import (
    BatchSize,
    ClassLevel,
    Data,
    DataDir,
    Device,
    Groups,
    Json,
    OnErrors,
    Run,
    check_out,
    load_judged,
    load_model,
    skipped_of,
)
from pairsim.cli.output import expect, note, print_result


def report(
    run: Run,
    data: Data,
    /,
    *,
    out: Path,
    split: Split = "test",
    pairs: Path | None = None,
    title: str | None = None,
    most: int = 12,
    batch_size: BatchSize = None,
    device: Device = "auto",
    class_level: ClassLevel = None,
    groups: Groups = None,
    on_error: OnErrors = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write a self-contained HTML page on a run: figures with intervals, a movable threshold, worst mistakes.

    The page loads nothing from elsewhere. The figures are measured now, on all pairs of the images, or on given pairs.

    Args:
        out: The page to write, ending in .html.
        split: Which images: test, val or train.
        pairs: CSV file of pairs, as for evaluate.
        title: Title of the page; by default the name of the run.
        most: Mistakes of each kind, and label suspects, to show at most.
    """
    from pairsim.report import write_report

    check_out(out, ".html", ".htm")
    expect(most >= 1, f"--most to be at least 1, got {most}.")
    model = load_model(run, device)
    images = load_judged(
        run,
        model,
        data,
        split,
        pairs=pairs,
        data_dir=data_dir,
        class_level=class_level,
        on_error=on_error,
        groups=groups,
    )
    of_images = f"all pairs of {len(images.dataset):,} images"
    note(f"Evaluating {of_images if images.class_names else f'{len(images.dataset):,} pairs'}.")
    options = {
        "--pairs": pairs,
        "--groups": groups,
        "--class-level": class_level,
        "--on-error": on_error,
        "--data-dir": data_dir,
    }
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    findings = write_report(
        run,
        images.dataset,
        out,
        names=images.class_names or None,
        title=title,
        data=shlex.join([data, *given]),
        split=split if pairs is None else "",
        source=images.source,
        most=most,
        groups=images.group_names,
        complete=images.completed,
        batch_size=batch_size,
        model=model,
    )
    size = out.stat().st_size
    result = {"out": str(out), "bytes": size, "metrics": findings.figures.to_dict(), "left_out": images.left_out}
    result |= skipped_of(images)
    print_result(result, f"Wrote {out}, {size / 1e6:.1f} MB.", json)
