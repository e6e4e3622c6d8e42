"""`pairsim demo`: all steps once, on data that needs no download."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pairsim
from pairsim.cli.arguments import Json, load_judged, load_model
from pairsim.cli.output import note, print_result
from pairsim.cli.pictures.compare import describe
from pairsim.cli.training.fitting import CommandRecords
from pairsim.cli.training.train import make_trainer
from pairsim.errors import require

if TYPE_CHECKING:
    from pairsim.data import LabelledData

_NUM_SHOWN_PAIRS, _QUERY_DIGIT = 6, 4


def demo(*, out: Path = Path("pairsim-demo"), epochs: int = 15, seed: int = 0, json: Json = False) -> None:
    """Train on small handwritten digits, evaluate on held-out ones, compare pairs and draw figures. Under a minute.

    Args:
        out: Run folder; an earlier demo in it is replaced.
        epochs: Passes over the training images.
        seed: Any whole number.
    """
    require("matplotlib", extra="demo", purpose="The demo")
    from pairsim._common import storage
    from pairsim.data import load_data
    from pairsim.report import write_report
    from pairsim.training.checkpointing.run_lock import locked

    storage.check_writable(out, "a folder")
    began = time.perf_counter()
    train, test = load_data("digits", "train"), load_data("digits", "test")
    note(f"Training on {len(train.dataset):,} handwritten digits; {len(test.dataset)} others are held out for testing.")
    config = pairsim.TrainConfig(out=out, epochs=epochs, batch_size=64, seed=seed)
    with locked(out):
        make_trainer(train, config, callbacks=(CommandRecords("digits", train),)).fit(resume="never")
        model = load_model(out, "cpu")
        judged = load_judged(out, model, "digits", "test", pairs=None, data_dir=None, class_level=None, on_error=None)
        report = write_report(
            out,
            test,
            out / "report.html",
            names=test.class_names,
            data="digits",
            split="test",
            source=test.source,
            complete=judged.completed,
            model=model,
        ).figures
        storage.write_file(out / "metrics.json", storage.to_json(report.to_dict()))
        first, *others = _write_pictures(test, out / "images")
        figures = _draw(model, test, out, seed)
    verdicts = [describe(model.verify(first, other), first.name, other.name) for other in others]
    written = [out / name for name in ("model", "best_model.pt", "metrics.json", "report.html", *figures, "images")]
    text = [
        str(report),
        "",
        *verdicts,
        "",
        f"Done in {time.perf_counter() - began:.0f} s. Written:",
        *(f"  {path}" for path in written),
        "Try next:",
        f"  pairsim compare {out} {first} {others[0]}",
        "  pairsim train mnist --out runs/mnist && pairsim evaluate runs/mnist mnist",
        "  pairsim train YOUR_FOLDER --out runs/mine      (one sub-folder for each class)",
    ]
    result = {"run": str(out), "written": [str(path) for path in written], "metrics": report.to_dict()}
    print_result(result, "\n".join(text), json)


def _write_pictures(test: LabelledData, folder: Path) -> list[Path]:
    """Write three test images as files to try `compare` on: two of one class and one of another."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    index, paths = test.index, []
    for digit, position in ((3, 0), (3, 1), (8, 0)):
        number = int(index.order[index.offsets[digit] + position])
        paths.append(folder / f"digit{digit}_{'ab'[position]}.png")
        Image.fromarray(test.dataset.images[number, 0].numpy()).save(paths[-1])
    return paths


def _draw(model: pairsim.SimilarityModel, test: LabelledData, out: Path, seed: int) -> tuple[str, ...]:
    """Draw a row of pairs, and one image beside one example of every class; return the names of the files."""
    import numpy as np

    from pairsim._common import storage
    from pairsim.visual import draw_class_ranking, draw_pairs

    images, index = test.dataset.images, test.index
    pairs = pairsim.PairDataset(test.dataset, _NUM_SHOWN_PAIRS, seed=seed).all_pairs()
    first, second = images[pairs.first], images[pairs.second]
    similarity = (model.encode(first) * model.encode(second)).sum(dim=-1)
    row = draw_pairs(
        first,
        second,
        pairs.target,
        similarity=similarity,
        probability=model.probability(similarity),
        threshold=model.threshold,
        title="Pairs of held-out digits",
    )
    query, example = np.random.default_rng(seed).permuted(np.arange(index.counts.min()))[:2]
    ranking = draw_class_ranking(
        model,
        images[index.order[index.offsets[_QUERY_DIGIT] + query]],
        images[index.order[index.offsets[:-1] + example]],
        names=test.class_names,
        true_label=_QUERY_DIGIT,
        title="One digit beside one example of every class",
    )
    for name, figure in (("pairs.png", row), ("ranking.png", ranking)):
        with storage.replacing(out / name) as file:
            figure.savefig(file, format="png", dpi=150)
    return "pairs.png", "ranking.png"
