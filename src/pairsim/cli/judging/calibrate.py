"""`pairsim calibrate`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import pairsim
from pairsim._common.choices import CalibrationMethod, Split
from pairsim.cli.arguments import (
    BatchSize,
    ClassLevel,
    DataDir,
    Device,
    Flag,
    Json,
    OnErrors,
    Share,
    load_judged,
    load_model,
    skipped_of,
)
from pairsim.cli.output import expect, note, print_result
from pairsim.errors import DataError

if TYPE_CHECKING:
    from pairsim.data import LabelledData


def _costs(_: Any, value: tuple[float, float] | None) -> None:
    if value is not None and not (all(0.0 <= cost < math.inf for cost in value) and any(value)):
        raise ValueError("Give two numbers of at least 0, one of them above 0.")


def calibrate(
    run: Path,
    data: str,
    /,
    *,
    target_fmr: Share | None = None,
    prior: Share | None = None,
    method: CalibrationMethod = "platt",
    costs: Annotated[tuple[float, float] | None, Parameter(validator=_costs)] = None,
    equal_errors: Flag = False,
    split: Split = "val",
    pairs: Path | None = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    class_level: ClassLevel = None,
    on_error: OnErrors = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Fit probabilities and choose a threshold on held-out pairs, and store both in the run's model.

    Args:
        run: Run or model folder. Its model is saved again with the calibration and the threshold; the weights stay.
        data: The data that it was trained on: mnist, fashion-mnist, digits, or a folder.
        target_fmr: Choose the lowest threshold with at most this false match rate, such as 0.001.
        prior: Share of pairs in use that show the same thing, such as 0.01; by default that of the pairs.
        method: platt (two numbers) or isotonic (any rising function; needs thousands of pairs).
        costs: Choose the threshold with the lowest cost, of a false match and of a false non-match.
        equal_errors: Choose the threshold with equal error rates.
        split: Which images: val, those that the run kept for validation; or all of train or test.
        pairs: CSV file of pairs, as for evaluate, of the split given.
    """
    chosen = (target_fmr is not None, costs is not None, equal_errors)
    expect(sum(chosen) <= 1, "one of --target-fmr, --costs and --equal-errors, got several. Choose one threshold.")
    from pairsim._common.storage import check_writable, is_file
    from pairsim.models.pretrained import find
    from pairsim.models.verdict import one_decision
    from pairsim.runs.calibration_records import save_calibration
    from pairsim.runs.run_pairs import lists_numbers
    from pairsim.training.checkpointing.run_lock import RUN_FILE, locked

    folder = find(run)
    check_writable(folder, "a folder")
    above = folder.resolve().parent
    with locked(above if is_file(above / RUN_FILE) else None):  # a training would replace what is stored
        model = load_model(run, device)
        images = load_judged(
            run, model, data, split, pairs=pairs, data_dir=data_dir, class_level=class_level, on_error=on_error
        )
        if split == "val" and not isinstance(images.dataset, pairsim.PairDataset):
            _expect_both_kinds(images.dataset)
        kind = "validation" if split == "val" and pairs is None else split
        source = f"{kind} images of {data}" + ("" if pairs is None else f", pairs of {pairs.name}")
        if pairs is not None and not lists_numbers(data):  # pictures in a folder, of no split
            source = f"pairs of {pairs.name}, pictures in {data}"
        if split != "val":
            note(f"Calibrating on {split} images: figures on the same images will look better than they are.")
        calibration = pairsim.calibrate(
            model,
            images.dataset,
            target_fmr=target_fmr,
            prior=prior,
            method=method,
            costs=costs,
            equal_errors=equal_errors,
            source=source,
            batch_size=batch_size,
        )
        model.save_pretrained(folder)
        save_calibration(run, folder, images.class_names)
    if reason := one_decision(model):
        note(
            f"Warning: with this threshold every pair gets the same decision: {reason}. Choose it by --target-fmr or "
            "--equal-errors, or check --prior."
        )
    text = f"{calibration}\nStored in {folder}: compare and evaluate use it from now on."
    result = {"run": str(run), "threshold": model.threshold, **calibration.to_dict(), "left_out": images.left_out}
    result |= skipped_of(images)
    print_result(result, text, json)


def _expect_both_kinds(images: LabelledData) -> None:
    """Expect validation images with pairs of one class and of two; more images would not help if few are split off."""
    if images.index.missing_kind is not None:
        own = images.account is not None and "val" in images.account.splits
        advice = (
            "Add images to the folder's own val"
            if own
            else "Train with a larger --val-fraction, such as 0.5, or with --unseen 0.3, which keeps whole classes"
        )
        raise DataError(
            f"Expected validation images of at least two classes, two of them of one class, found {len(images)} of "
            f"{images.index.num_classes} classes. {advice}; or give --pairs FILE, or --split train with a folder that "
            "the model was not trained on."
        )
