"""Open-set identification: who is it, of those enrolled, or none of these.

- Errors: rank-1 accuracy among those enrolled, and the FNIR at an FPIR of 10 % and 1 %, the threshold chosen by the
  unknown queries themselves, as reports of the field state it. Each identity is enrolled with 5 pictures. Groceries:
  21 products enrolled and 20 unknown of the half that training does not have, three splits of classes and ten draws
  each; a frozen MobileNetV2 with and without a head. Omniglot: 100 characters enrolled and 100 unknown, of those that
  training did not have. MNIST: the digits 0 to 6 enrolled, of which training had others, and 7 to 9 unknown.
- Stated and found: `calibrate_gallery` states the FPIR of a gallery from its own pictures; 300 draws of who is enrolled
  tell how often its interval holds the share that unknown pictures have. These are of few identities too, 20 products
  of the whitened arm for example, so that what is found has an interval: the difference of both has to be within both
  intervals, joined as Newcombe does. Without training no product is left out: all that are not enrolled are unknown.
- Growth: the FPIR that is stated for a gallery of 2, 5 and 20 times the size, and what is found in it.
- Adding: one embedding to a gallery of 1,000,000, in memory and to its saved folder; and a picture by the command
  `pairsim gallery add`, which does not load the gallery.
- Speed: `identify_embeddings` of one query among 1,000,000 templates, beside a bare matrix product with its maximum and
  FAISS's flat index.
"""

from __future__ import annotations

import functools
import itertools
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from benchmarks import omniglot
from benchmarks.mnist_quality import SEEDS
from benchmarks.open_world import HEADS, NET, SIZE, UNSEEN, fitted
from benchmarks.optional import missing, optional
from benchmarks.options import OptionError, Options
from benchmarks.report import Table
from benchmarks.timing import Row, interleave, timing_rows
from pairsim import EmbeddingNet, Gallery, SimilarityModel, TrainConfig, Trainer, encode_dataset
from pairsim.data import load_data
from pairsim.data.image_sets import subset
from pairsim.data.loading.resident import make_resident
from pairsim.data.named import data_root
from pairsim.encoding.features import backbone_features
from pairsim.errors import PairsimError
from pairsim.evaluation import Searches
from pairsim.evaluation.probabilities.priors import log_odds
from pairsim.models.backbones.weight_files import find_weights, weight_folders
from pairsim.runs.class_splits import ClassSplit
from pairsim.search.identification.calibrating import gallery_calibration
from pairsim.search.identification.outcomes import leave_one_out, outcomes

PICTURES = 5
"""Of each identity that is enrolled."""

GROCERIES, DRAWS, COVERAGE_DRAWS = "groceries", 10, 300
ENROLLED = {"groceries": 21, "omniglot": 100}
UNKNOWN = {"groceries": 20, "omniglot": 100}
FPIR, SIZES, FIRST = 0.1, (2, 5, 20), 25
WHITEN = HEADS[1]
TEMPLATES, DIM = 1_000_000, 128
LATER_DIGITS = 7
ROW, ADDED, SAVED = "one row written to a matrix", "pairsim Gallery.add_embeddings", "the same and Gallery.save"
COMMAND = "pairsim gallery add, the whole process"
BARE, FAISS, PAIRSIM = "matrix product and maximum", "FAISS, flat index", "pairsim identify_embeddings"


@dataclass(frozen=True)
class Pictures:
    """Embeddings `[N, D]` of one set, and the number of the identity of each `[N]`."""

    vectors: Tensor
    codes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """A gallery, and pictures of who is in it and who is not."""

    gallery: Gallery
    queries: Tensor
    identities: list[int]

    def searches(self) -> Searches:
        """Search the gallery for all queries."""
        return outcomes(self.gallery, self.queries, self.identities)[0]


def run(options: Options) -> list[Table]:
    """Measure errors, what is stated beside what is found, and the speed."""
    rows: list[Row] = []
    stated: list[Row] = []
    left_out: list[str] = []
    for name, measure in (("groceries", groceries), ("omniglot", characters), ("mnist", digits)):
        print(f"identify: {name}", file=sys.stderr, flush=True)
        try:
            found = measure(options)
        except (OptionError, PairsimError) as error:
            left_out.append(f"{name} is not measured: {error}")
            continue
        rows += found[0]
        stated += found[1]
    notes = (
        f"{PICTURES} pictures of each identity are enrolled; intervals of 95 % for other identities, the first draw's.",
        *left_out,
    )
    coverage = (
        "covered: share of draws in which stated and found differ by no more than both 95 % intervals, joined, allow; "
        "held: in which the interval of the stated FPIR alone holds the one found, which has an error too. size: of "
        "the gallery, as a multiple of that at which it was calibrated.",
        f"Draws: {3 if options.quick else COVERAGE_DRAWS}. Target: an FPIR of {FPIR:.0%}.",
    )
    return [
        Table("Identification among enrolled and unknown", rows, notes),
        Table("Stated FPIR and found", stated, coverage),
        speed(options),
        adding(options),
    ]


def groceries(options: Options) -> tuple[list[Row], list[Row]]:
    """Products of a shop, of classes that training did not have."""
    root = data_root(options.data_dir)
    folder, weights = root / "open" / GROCERIES, find_weights(NET, weight_folders(root))
    if weights is None or not folder.is_dir():
        raise OptionError(f"it needs open/{GROCERIES} and weights of {NET} in --data-dir")
    size = 32 if options.quick else SIZE
    model = SimilarityModel(EmbeddingNet(NET, weights=weights, image_size=size, head="none")).to(options.device)
    images = load_data(folder, "all", preprocessing=model.preprocessing)
    whole = make_resident(images, labels=images.index.codes.astype("int64"), preprocessing=model.preprocessing)
    features = backbone_features(model, whole, precision="auto").cpu()
    codes = np.asarray(whole.targets)
    rows: list[Row] = []
    stated: list[Row] = []
    times = 3 if options.quick else COVERAGE_DRAWS
    for arm in ("frozen, cosine", "frozen, whitened"):
        draws: list[Draw] = []
        more: list[Draw] = []
        for seed in SEEDS[:1] if options.quick else SEEDS:
            split = ClassSplit.of(images, UNSEEN, seed=seed)
            test = np.isin(codes, np.flatnonzero(np.isin(images.class_names, split.test)))
            vectors = features[test]
            if arm != "frozen, cosine":
                training = torch.from_numpy(codes[~test])
                head = fitted(WHITEN, features[~test], torch.unique(training, return_inverse=True)[1], seed)
                with torch.no_grad():
                    vectors = head(vectors)
            pictures = Pictures(functional.normalize(vectors.float(), dim=1), codes[test])
            draws += drawn(pictures, GROCERIES, DRAWS if not options.quick else 2, seed)
            if arm != "frozen, cosine":
                more += drawn(pictures, GROCERIES, times if options.quick else times // len(SEEDS), 100 + seed)
        if arm == "frozen, cosine":
            more += everybody(Pictures(functional.normalize(features.float(), dim=1), codes), times)
        rows.append({"arm": f"{GROCERIES}, {arm}", **figures(draws)})
        stated.append({"arm": f"{GROCERIES}, {arm}", "size": 1, **coverage((one, one) for one in more)})
    return rows, stated


def characters(options: Options) -> tuple[list[Row], list[Row]]:
    """Omniglot's evaluation characters, with the reference net trained on the others."""
    found = omniglot.folder(options)
    if found is None:
        raise OptionError(f"it needs {omniglot.PICTURES} in --data-dir or $PAIRSIM_DATA")
    data = omniglot.read(found, quick=options.quick)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SimilarityModel(EmbeddingNet(image_size=omniglot.SIZE))
    epochs = 1 if options.quick else 8
    recipe: dict[str, Any] = {"augment": "affine", "batch_size": 256, "epochs": epochs}
    Trainer(model, TrainConfig(seed=0, device=options.device, progress=False, **recipe), train=data.background).fit()
    codes = np.unique(data.evaluation.targets, return_inverse=True)[1]
    pictures = Pictures(model.encode(data.evaluation.images).cpu(), codes)
    name = "omniglot, reference net"
    draws = list(drawn(pictures, "omniglot", DRAWS, 0, quick=options.quick))
    rows: list[Row] = [{"arm": name, **figures(draws)}]
    stated: list[Row] = []
    times = 3 if options.quick else COVERAGE_DRAWS
    for factor in (1, *(() if options.quick else SIZES)):
        pairs = (grown(pictures, factor, seed, quick=options.quick) for seed in range(times))
        stated.append({"arm": name, "size": factor, **coverage(pairs)})
    return rows, stated


def digits(options: Options) -> tuple[list[Row], list[Row]]:
    """MNIST: the digits 7 to 9 are unknown, and training has none of them."""
    train, test = (load_data("mnist", part, data_dir=options.data_dir) for part in ("train", "test"))
    seen = np.flatnonzero(np.asarray(train.index.codes) < LATER_DIGITS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SimilarityModel(EmbeddingNet())
    config = TrainConfig(epochs=1, seed=0, device=options.device, progress=False)
    Trainer(model, config, train=subset(train, seen[: 2_000 if options.quick else len(seen)])).fit()
    vectors, codes = encode_dataset(model, test).cpu(), np.asarray(test.index.codes, dtype=np.int64)
    known, unknown = list(range(LATER_DIGITS)), list(range(LATER_DIGITS, 10))
    draws = [
        draw(Pictures(vectors, codes), known, unknown, np.random.default_rng([seed, 0]))
        for seed in range(2 if options.quick else DRAWS)
    ]
    return [{"arm": "mnist, digits 0 to 6 enrolled", **figures(draws)}], []


def drawn(pictures: Pictures, name: str, times: int, seed: int, *, quick: bool = False) -> Iterator[Draw]:
    """Draw who is enrolled and who is unknown."""
    identities = np.unique(pictures.codes)
    enrolled, unknown = (15, 10) if quick else (ENROLLED[name], UNKNOWN[name])
    for number in range(times):
        generator = np.random.default_rng([seed, number])
        chosen = generator.permutation(identities)
        yield draw(pictures, chosen[:enrolled], chosen[enrolled : enrolled + unknown], generator)


def everybody(pictures: Pictures, times: int) -> Iterator[Draw]:
    """Draw which products are enrolled; all others are unknown."""
    for number in range(times):
        generator = np.random.default_rng([100, number])
        chosen = generator.permutation(np.unique(pictures.codes))
        yield draw(pictures, chosen[: ENROLLED[GROCERIES]], chosen[ENROLLED[GROCERIES] :], generator)


def draw(pictures: Pictures, enrolled: Any, unknown: Any, generator: np.random.Generator) -> Draw:
    """Enrol some pictures of each identity; the others are queries, with all of those that are unknown."""
    rows: list[int] = []
    queries: list[int] = []
    for identity in enrolled:
        own = generator.permutation(np.flatnonzero(pictures.codes == identity)).tolist()
        rows += own[:PICTURES]
        queries += own[PICTURES:]
    queries += np.flatnonzero(np.isin(pictures.codes, unknown)).tolist()
    return Draw(gallery_of(pictures, rows), pictures.vectors[queries], pictures.codes[queries].tolist())


def gallery_of(pictures: Pictures, rows: list[int]) -> Gallery:
    """A gallery of some of the pictures."""
    gallery = Gallery(SimilarityModel(EmbeddingNet()))
    gallery.add_embeddings(pictures.vectors[rows], rows, identities=pictures.codes[rows].tolist())
    return gallery


def grown(pictures: Pictures, factor: int, seed: int, *, quick: bool = False) -> tuple[Draw, Draw]:
    """A gallery of some identities, and one with more, with the same unknown queries."""
    generator = np.random.default_rng([7, seed])
    chosen = generator.permutation(np.unique(pictures.codes))
    first = ENROLLED["omniglot"] if factor == 1 else FIRST
    first = 12 if quick else first
    unknown = chosen[first * max(factor, 1) :]
    small = draw(pictures, chosen[:first], unknown, generator)
    return small, small if factor == 1 else draw(pictures, chosen[: first * factor], unknown, generator)


def figures(draws: list[Draw]) -> Row:
    """Rank-1 accuracy and FNIR, means of all draws, and intervals of the first."""
    searched = [one.searches() for one in draws]
    row: Row = {
        "draws": len(draws),
        "enrolled": searched[0].num_enrolled,
        "rank_1": float(np.mean([1 - one.fnir(-np.inf) for one in searched])),
    }
    for target in (0.1, 0.01):
        row[f"fnir_at_{target:g}"] = float(np.mean([one.fnir(one.threshold_at(target)) for one in searched]))
    low, high = searched[0].fnir_interval(searched[0].threshold_at(0.1))
    return row | {"fnir_at_0.1_low": low, "fnir_at_0.1_high": high}


def coverage(pairs: Iterable[tuple[Draw, Draw]]) -> Row:
    """How often the FPIR that is stated for a gallery fits the one that is found.

    Args:
        pairs: The gallery that is calibrated, and the one that is searched.
    """
    covered, held, stated, seen = [], [], [], []
    for small, large in pairs:
        searches, counts = leave_one_out(small.gallery, max_searches=10**9)
        calibration = gallery_calibration(searches, counts, FPIR)
        asked = large.searches()
        found = asked.fpir(calibration.threshold)
        predicted = calibration.fpir_at(asked.num_enrolled)
        assert predicted is not None, "it is at most 20 times as large"
        interval = (predicted.low, predicted.high)
        held.append(predicted.low <= found <= predicted.high)
        covered.append(agree(predicted.fpir, interval, found, asked.fpir_interval(calibration.threshold)))
        stated.append(predicted.fpir)
        seen.append(found)
    return {
        "covered": float(np.mean(covered)),
        "held": float(np.mean(held)),
        "draws": len(held),
        "stated": float(np.mean(stated)),
        "found": float(np.mean(seen)),
    }


def agree(first: float, its: tuple[float, float], second: float, other: tuple[float, float]) -> bool:
    """Whether two rates, each with a 95 % interval, differ by no more than both intervals, joined, allow.

    R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17,
    1998, on log-odds.
    """
    below, above = sorted(((first, *its), (second, *other)))
    up = _odds(above[0]) - _odds(below[0])
    return up <= math.hypot(_odds(below[2]) - _odds(below[0]), _odds(above[0]) - _odds(above[1]))


def _odds(rate: float) -> float:
    return log_odds(min(max(rate, 1e-9), 1 - 1e-9))


def speed(options: Options) -> Table:
    """Time one query among many templates."""
    size = 20_000 if options.quick else TEMPLATES
    generator = torch.Generator().manual_seed(options.seed)
    vectors = functional.normalize(torch.randn(size + 1, DIM, generator=generator), dim=1)
    stored, query = vectors[:size].contiguous(), vectors[size:]
    gallery = Gallery(SimilarityModel(EmbeddingNet()))
    gallery.add_embeddings(stored, range(size))
    faiss = optional("faiss-cpu", "faiss")
    arms: dict[str, Callable[[], Any]] = {BARE: functools.partial(bare, stored, query)}
    if faiss is not None:
        index = faiss.IndexFlatIP(DIM)
        index.add(stored.numpy())
        arms[FAISS] = functools.partial(index.search, query.numpy(), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an untrained model
        arms[PAIRSIM] = functools.partial(gallery.identify_embeddings, query, 0.5)
        timings = interleave(
            arms,
            rounds=options.rounds or (2 if options.quick else 21),
            warmup=2,
            work=dict.fromkeys(arms, 1.0),
        )
    notes = ("Ratio: to the first row.", *(() if faiss is not None else (missing("faiss-cpu"),)))
    return Table(f"One query among {size:,} templates", timing_rows(timings, unit="queries"), notes)


def adding(options: Options) -> Table:
    """Time one template more in a large gallery."""
    size = 20_000 if options.quick else TEMPLATES
    vectors = functional.normalize(torch.randn(size + 1, DIM, generator=torch.Generator().manual_seed(options.seed)))
    stored, one = vectors[:size], vectors[size:]
    rounds = options.rounds or (2 if options.quick else 21)
    with tempfile.TemporaryDirectory() as place:
        model = SimilarityModel(EmbeddingNet())
        model.save_pretrained(Path(place, "model"))
        names = [f"{number}.png" for number in range(size)]
        first = Gallery(model)
        first.add_embeddings(stored, names, identities=names)
        first.save(Path(place, "gallery"))
        del first, names
        held, saved = (Gallery.load(Path(place, "gallery"), model) for _ in range(2))
        numbers = itertools.count()

        def add(gallery: Gallery) -> None:
            gallery.add_embeddings(one, [f"new {next(numbers)}"])

        def add_and_save() -> None:
            add(saved)
            saved.save(Path(place, "gallery"))

        arms: dict[str, Callable[[], Any]] = {
            ROW: functools.partial(stored[-1:].copy_, one),
            ADDED: functools.partial(add, held),
            SAVED: add_and_save,
        }
        rows = timing_rows(interleave(arms, rounds=rounds, warmup=2, work=dict.fromkeys(arms, 1.0)))
        picture = Path(place, "picture.png")
        command = [sys.executable, "-m", "pairsim", "gallery", "add", str(Path(place, "gallery")), str(picture)]
        command += ["--run", str(Path(place, "model")), "--identity"]

        def process() -> None:
            Image.effect_noise((28, 28), 64).save(picture)
            subprocess.run([*command, f"identity {next(numbers)}"], check=True, capture_output=True)

        (whole,) = interleave({COMMAND: process}, rounds=3, warmup=1, work={COMMAND: 1.0})
        (last,) = timing_rows([whole])
    rows.append({name: value for name, value in last.items() if not name.startswith("ratio")})
    return Table(f"One template more among {size:,}", rows, ("Saved: synced to disk, before it returns.",))


def bare(stored: Tensor, query: Tensor) -> tuple[float, int]:
    """The nearest template, as a user would write it."""
    value, place = torch.mv(stored, query[0]).max(dim=0)
    return float(value), int(place)
