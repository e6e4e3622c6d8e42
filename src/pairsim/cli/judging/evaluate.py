"""`pairsim evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pairsim._common.choices import Split, Unit
from pairsim._common.devices import resolve_device
from pairsim.cli.output import UsageError, note, print_result
from pairsim.data.pairs.pair_files import read_folds
from pairsim.errors import RunError
from pairsim.models import SimilarityModel
from pairsim.runs.run_data import Judged, load_evaluation_data
from pairsim.runs.run_records import save_evaluation
from pairsim.verification.model_comparison import compare_models
from pairsim.verification.model_evaluation import evaluate as evaluate_model
from pairsim.verification.verification_report import VerificationReport


def evaluate(
    run: Path,
    data: str,
    /,
    *,
    split: Split = "test",
    pairs: Path | None = None,
    against: Path | None = None,
    threshold: float | None = None,
    resample: Unit | None = None,
    resamples: int = 1000,
    batch_size: int | None = None,
    device: str = "auto",
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Evaluate a run on data that it was not trained on: on all pairs of the split, or on given pairs.

    The figures at the model's own threshold are also kept in the run (evaluation.json), for its model card.

    Args:
        run: Run or model folder.
        data: mnist, fashion-mnist, digits, or a folder with one sub-folder per class (or train, val, test above those).
        split: Which images: test, val or train.
        pairs: CSV file of path1,path2,label with paths from the data folder (or LFW's pairs.txt); for a named dataset
            of number1,number2,label with image numbers from 0. A fourth column may give folds.
        against: Another run or model folder, to compare with on the same pairs: differences, intervals, p-values.
        threshold: Similarity from which a pair counts as a match; by default the model's own.
        resample: Take intervals by drawing images or classes anew, instead of computing them.
        resamples: How often to draw, for --resample and --against.
        batch_size: Images embedded at once; by default what suits the device.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        data_dir: Where mnist and fashion-mnist are kept; else PAIRSIM_DATA, else the user's cache.
        json: Print one JSON object.
    """
    if against is not None and threshold is not None:
        raise UsageError("Expected --threshold or --against, got both: each model is compared at its own threshold.")
    model = SimilarityModel.from_pretrained(run).to(resolve_device(device))
    judged = load_evaluation_data(model, data, split, pairs, data_dir)
    if against is not None:
        other = SimilarityModel.from_pretrained(against).to(resolve_device(device))
        found = compare_models(
            model, other, judged.dataset, unit=resample or "images", num_resamples=resamples, batch_size=batch_size
        )
        print_result({"first": str(run), "second": str(against), **found.to_dict()}, str(found), as_json=json)
        return
    report = evaluate_model(
        model,
        judged.dataset,
        threshold=threshold,
        folds=None if pairs is None else read_folds(pairs),
        resample=resample,
        num_resamples=resamples,
        batch_size=batch_size,
    )
    for line in report.notes:
        note(line)
    if threshold is None:
        _keep(run, report, judged, data, "" if pairs is not None else split)
    print_result(report.to_dict(), str(report), as_json=json)


def _keep(run: Path, report: VerificationReport, judged: Judged, data: str, split: str) -> None:
    """Keep the figures in the run, for its model card; a run that cannot be written to is judged all the same."""
    try:
        save_evaluation(run, report, data=data, split=split, source=judged.source, class_names=judged.class_names)
    except RunError as error:
        note(f"Not kept in the run: {error}")
