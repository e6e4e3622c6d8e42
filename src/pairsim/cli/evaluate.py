"""`pairsim evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pairsim.cli.output import note, print_result
from pairsim.data import PairDataset
from pairsim.data.named import NAMES, Split, load_data
from pairsim.data.pair_files import read_numbered_pairs
from pairsim.models import SimilarityModel
from pairsim.training.devices import resolve_device
from pairsim.verification import evaluate as evaluate_model


def evaluate(
    run: Path,
    data: str,
    /,
    *,
    split: Split = "test",
    pairs: Path | None = None,
    threshold: float | None = None,
    batch_size: int = 256,
    device: str = "auto",
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Evaluate a run on data that it was not trained on: on all pairs of the split, or on given pairs.

    Args:
        run: Run or model folder.
        data: mnist, fashion-mnist, digits, or a folder with one sub-folder per class (or train, val, test above those).
        split: Which images: test, val or train.
        pairs: CSV file of path1,path2,label with paths from the data folder (or LFW's pairs.txt); for a named dataset
            of number1,number2,label with image numbers from 0.
        threshold: Similarity from which a pair counts as a match; by default the model's own.
        batch_size: Images embedded at once.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        data_dir: Where mnist and fashion-mnist are kept; else PAIRSIM_DATA, else the user's cache.
        json: Print one JSON object.
    """
    model = SimilarityModel.from_pretrained(run).to(resolve_device(device))
    dataset = _load(model, data, split, pairs, data_dir)
    report = evaluate_model(model, dataset, threshold=threshold, batch_size=batch_size)
    for line in report.notes:
        note(line)
    print_result(report.to_dict(), str(report), as_json=json)


def _load(model: SimilarityModel, data: str, split: Split, pairs: Path | None, data_dir: Path | None) -> Any:
    size, channels = model.preprocessing.image_size, model.preprocessing.channels
    if pairs is not None and data not in NAMES:
        return PairDataset.from_csv(pairs, data, image_size=size, channels=channels)
    loaded = load_data(data, split, data_dir=data_dir, image_size=size, channels=channels)
    if pairs is None:
        return loaded.dataset
    return PairDataset.from_pairs(loaded.dataset, *read_numbered_pairs(pairs))
