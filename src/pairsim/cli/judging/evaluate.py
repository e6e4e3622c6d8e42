"""`pairsim evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

import pairsim
from pairsim._common.choices import Split, Unit
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
    Threshold,
    load_judged,
    load_model,
    skipped_of,
)
from pairsim.cli.output import expect, note, print_result
from pairsim.errors import RunError


def evaluate(
    run: Run,
    data: Data,
    /,
    *,
    split: Split = "test",
    pairs: Path | None = None,
    against: Path | None = None,
    threshold: Threshold = None,
    resample: Unit | None = None,
    resamples: Annotated[int, Parameter(validator=Number(gte=1))] = 1000,
    batch_size: BatchSize = None,
    device: Device = "auto",
    class_level: ClassLevel = None,
    groups: Groups = None,
    on_error: OnErrors = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Evaluate a run on data that it was not trained on: on all pairs of the split, or on given pairs.

    The figures at the model's own threshold are also kept in the run (evaluation.json), for its model card.

    Args:
        split: Which images: test, val or train.
        pairs: CSV file of path1,path2,label with paths from the data folder (or LFW's pairs.txt); for a named dataset
            or a file of embeddings of number1,number2,label with image numbers from 0. A fourth column may give folds.
        against: Another run or model folder, to compare with on the same pairs: differences, intervals, p-values.
        resample: Estimate intervals by resampling images or classes, instead of computing them.
        resamples: Number of resamples, for --resample and --against.
    """
    from pairsim.runs import save_evaluation
    from pairsim.runs.run_data import recorded_data

    one = against is None or threshold is None
    expect(one, "--threshold or --against, got both: each model is compared at its own threshold.")
    expect(against is None or groups is None, "--groups or --against, got both: groups are of one model.")
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
    left_out = {"left_out": images.left_out, **skipped_of(images)}
    if against is not None:
        other, unit = load_model(against, device), resample or "images"
        known = set(recorded_data(against).get("class_names", ())).intersection(images.class_names)
        if images.unseen_classes and known:
            note(f"Warning: training of {against} had {len(known):,} of these {len(images.class_names):,} classes.")
        comparison = pairsim.compare_models(
            model, other, images.dataset, unit=unit, num_resamples=resamples, batch_size=batch_size
        )
        print_result(
            {"first": str(run), "second": str(against), **comparison.to_dict(), **left_out}, str(comparison), json
        )
        return
    report = pairsim.evaluate(
        model,
        images.dataset,
        threshold=threshold,
        folds=images.folds,
        resample=resample,
        num_resamples=resamples,
        groups=images.group_names,
        batch_size=batch_size,
    )
    report = images.completed(report)
    if threshold is None:
        part = split if pairs is None else ""
        try:
            save_evaluation(run, report, data=data, split=part, source=images.source, class_names=images.class_names)
        except RunError as error:  # such as a folder without write permission
            note(f"Not kept in the run: {error}")
    print_result({**report.to_dict(), **left_out}, str(report), json)
