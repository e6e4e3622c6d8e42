"""`pairsim card`."""

from __future__ import annotations

from pathlib import Path

from pairsim.cli.arguments import Flag, Json, Run
from pairsim.cli.output import note, print_result


def card(
    run: Run,
    /,
    *,
    out: Path | None = None,
    title: str | None = None,
    overwrite: Flag = False,
    json: Json = False,
) -> None:
    """Write a model card: what the model is, its data, figures with intervals, threshold and limits.

    Args:
        out: File to write; by default README.md beside the model, so that they are shared together.
        title: The heading; by default the name of the run.
        overwrite: Replace an existing card.
    """
    from pairsim.hub import write_card
    from pairsim.runs import read_run

    path = write_card(run, out=out, overwrite=overwrite, title=title)
    records = read_run(run)
    evaluated = records.evaluation is not None and records.evaluation.of_these_weights
    calibrated = records.model.get("calibration") is not None
    if not evaluated:
        note(f"The card has no figures of test data. Measure them with: pairsim evaluate {run} DATA")
    if not calibrated:
        note(f"The card has no calibration. Make one with: pairsim calibrate {run} DATA")
    result = {"run": str(run), "card": str(path), "evaluated": evaluated, "calibrated": calibrated}
    print_result(result, f"Wrote {path}. Read it, and add the licence.", json)
