"""`pairsim card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pairsim.cli.output import note, print_result
from pairsim.hub.model_cards import write_card
from pairsim.runs.run_records import read_run


def card(
    run: Path,
    /,
    *,
    out: Path | None = None,
    title: str | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a model card: what the model is, its data, figures with intervals, threshold and limits.

    Args:
        run: Run or model folder.
        out: File to write; by default README.md beside the model, where it is shared with it.
        title: The heading; by default the name of the run.
        overwrite: Replace a card that is there.
        json: Print one JSON object.
    """
    path = write_card(run, out=out, overwrite=overwrite, title=title)
    records = read_run(run)
    evaluated = records.evaluation is not None and records.evaluation.of_these_weights
    calibrated = records.model.get("calibration") is not None
    if not evaluated:
        note(f"The card has no figures of test data. Measure them with: pairsim evaluate {run} DATA")
    if not calibrated:
        note(f"The card has no calibration. Make one with: pairsim calibrate {run} DATA")
    result = {"run": str(run), "card": str(path), "evaluated": evaluated, "calibrated": calibrated}
    print_result(result, f"Wrote {path}. Read it, and add the licence.", as_json=json)
