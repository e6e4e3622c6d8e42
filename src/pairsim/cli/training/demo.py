"""`pairsim demo`: all steps once, on data that needs no download."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pairsim
from pairsim.cli.arguments import Json
from pairsim.cli.output import note, print_result
from pairsim.cli.pictures.compare import describe
from pairsim.cli.training.train import make_trainer
from pairsim.errors import require

if TYPE_CHECKING:
    from pairsim.data import LabelledData

_NUM_SHOWN_PAIRS = 6


def demo(*, out: Path = Path("pairsim-demo"), epochs: int = 15, seed: int = 0, json: Json = False) -> None:
    """Train on small handwritten digits, evaluate on held-out ones, compare pairs and draw figures. Under a minute.

    Args:
        out: Run folder; an earlier demo in it is replaced.
        epochs: Passes over the training images.
        seed: Any whole number.
    """
    require("matplotlib", extra="demo", purpose="The demo")
    require("sklearn", extra="demo", purpose="The demo")
    from pairsim._common import storage
    from pairsim.data import load_data
    from pairsim.report import write_report

    began = time.perf_counter()
    train, test = load_data("digits", "train"), load_data("digits", "test")
    note(f"Training on {len(train.dataset):,} handwritten digits; {len(test.dataset)} others are held out for testing.")
    trainer = make_trainer(train, pairsim.TrainConfig(out=out, epochs=epochs, batch_size=64, seed=seed))
    trainer.fit(resume="never")
    model = pairsim.SimilarityModel.from_pretrained(out)
    report = write_report(
        out, test.dataset, out / "report.html", names=test.class_names, data="digits", split="test", source=test.source
    ).figures
    storage.write_file(out / "metrics.json", storage.to_json(report.to_dict()))
    pictures = _write_pictures(test, out / "images")
    figures = _draw(model, test, out, seed)
    compared = [(pictures[0], pictures[1]), (pictures[0], pictures[2])]
    verdicts = [describe(model.verify(first, second), first.name, second.name) for first, second in compared]
    written = [
        out / "model",
        out / "best_model.pt",
        out / "metrics.json",
        out / "report.html",
        *figures,
        out / "images",
    ]
    text = [
        str(report),
        "",
        *verdicts,
        "",
        f"Done in {time.perf_counter() - began:.0f} s. Written:",
        *(f"  {path}" for path in written),
        "Try next:",
        f"  pairsim compare {out} {pictures[0]} {pictures[1]}",
        "  pairsim train mnist --out runs/mnist && pairsim evaluate runs/mnist mnist",
        "  pairsim train YOUR_FOLDER --out runs/mine      (one sub-folder for each class)",
    ]
    result = {"run": str(out), "written": [str(path) for path in written], "metrics": report.to_dict()}
    print_result(result, "\n".join(text), json)


def _write_pictures(test: LabelledData, folder: Path) -> list[Path]:
    """Write three test images as files to try `compare` on: two of one class and one of another."""
    from PIL import Image

    from pairsim.data import ClassIndex

    folder.mkdir(parents=True, exist_ok=True)
    index = ClassIndex.from_labels(test.dataset.targets)
    paths = []
    for code, letter in ((3, "a"), (3, "b"), (8, "a")):
        number = int(index.order[index.offsets[code] + "ab".index(letter)])
        paths.append(folder / f"digit{test.class_names[code]}_{letter}.png")
        Image.fromarray(test.dataset.images[number, 0].numpy()).save(paths[-1])
    return paths


def _draw(model: pairsim.SimilarityModel, test: LabelledData, out: Path, seed: int) -> list[Path]:
    """Draw a row of pairs, and one image beside one example of every class."""
    import torch

    from pairsim.visual import draw_pairs, draw_ranking

    images: torch.Tensor = test.dataset.images
    pairs = pairsim.PairDataset(test.dataset, _NUM_SHOWN_PAIRS, seed=seed).all_pairs()
    first, second = images[torch.from_numpy(pairs.first)], images[torch.from_numpy(pairs.second)]
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
    query, examples = _query_and_examples(test, seed)
    similarity = model.similarity_matrix(images[query : query + 1], images[examples])[0]
    ranking = draw_ranking(
        images[query],
        images[examples],
        test.class_names,
        similarity,
        model.probability(similarity),
        true_name=test.class_names[int(test.dataset.targets[query])],
        title="One digit beside one example of every class",
    )
    paths = [out / "pairs.png", out / "ranking.png"]
    for figure, path in zip((row, ranking), paths, strict=True):
        figure.savefig(path, dpi=150)
    return paths


def _query_and_examples(test: LabelledData, seed: int) -> tuple[int, list[int]]:
    """The number of one image, and of another image of each class."""
    import numpy as np

    from pairsim.data import ClassIndex

    index = ClassIndex.from_labels(test.dataset.targets)
    chosen = np.random.default_rng(seed).permuted(np.arange(index.counts.min()))
    query = int(index.order[index.offsets[4] + chosen[0]])
    return query, [int(index.order[begin + chosen[1]]) for begin in index.offsets[:-1]]
