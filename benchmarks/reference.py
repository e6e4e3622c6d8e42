"""The notebook's recipe as written beside pairsim's objective "pairs" with the same hyper-parameters, on MNIST.

Both: the same net, 20,000 pairs an epoch in batches of 256, Adam at 1e-2 with weight decay 1e-5, learning rate halved
on a plateau, an evaluation after each epoch, the best weights written to disk. Epochs take turns in one process with
the same number of threads. What differs is what is compared:

- loading: the notebook decodes each image in four workers; pairsim slices pixels in memory;
- precision: fp32 in both, then pairsim's `auto` (bf16 where the processor computes in it); layout: pairsim's
  default, channels last;
- pairs: pairsim never pairs an image with itself, balances exactly, and embeds both images of a pair in one forward,
  so that batch norm sees them together;
- model selection: the notebook evaluates 5,000 new test pairs an epoch (10,000 forwards) and keeps the best weights by
  them; pairsim holds out a tenth of the training images and judges all their pairs (6,000 forwards), so it learns from
  54,000 images and never sees a test image;
- pairsim also writes a checkpoint to resume from, synced to disk, each epoch.

Epoch times are given with all of this and for the training part alone. Quality is judged on all pairs of the 10,000
test images, each embedded once in fp32, by the benchmarks' own code, on the weights that each recipe kept.

The seed is 1 and not 0 for the notebook's sake: its projection starts with a slope drawn from [-1, 1], and where that
is negative, as with seed 0, the first two epochs or so go by with a loss of ln 2. Seed 1 starts above 0. The first
slope is in the table of quality.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import notebook_recipe
from benchmarks.mnist import load
from benchmarks.options import OptionError, Options
from benchmarks.recipes import NotebookArm, PairsimArm, RecipeArm, num_pairs
from benchmarks.report import Table
from benchmarks.timing import Row, Timing, interleave, synchronizer, timing_rows
from pairsim import PairDataset

_ROUNDS = 3
_INDEX_ROUNDS = 5


def run(options: Options) -> list[Table]:
    """Compare epoch times, set-up and quality."""
    epochs = options.epochs or (2 if options.quick else notebook_recipe.EPOCHS)
    if epochs < 2:
        raise OptionError(f"Expected at least 2 epochs, one to warm up and one to time, got {epochs}.")
    rounds = min(options.rounds or _ROUNDS, epochs - 1)
    synchronize = synchronizer(options.device)
    with tempfile.TemporaryDirectory() as name:
        fp32 = PairsimArm(Path(name) / "fp32", options, "fp32", epochs)
        auto = PairsimArm(Path(name) / "auto", options, "auto", epochs)
        # the notebook last: it uses the global generators, which nothing else then touches
        notebook = NotebookArm(Path(name), options)
        auto_name = f"pairsim, auto ({auto.trainer.precision.name})"
        arms: dict[str, RecipeArm] = {"notebook as written": notebook, "pairsim, fp32": fp32, auto_name: auto}
        timings = interleave(
            {name: arm.epoch for name, arm in arms.items()},
            rounds=rounds,
            synchronize=synchronize,
            after_round=_progress(arms, epochs),
        )
        tables = [
            Table(f"An epoch of {num_pairs(options):,} pairs, with evaluation and saving", timing_rows(timings)),
            Table("Its training part alone", timing_rows(_training_part(arms))),
        ]
        left = {name: arm for name, arm in arms.items() if arm is not fp32}
        more = epochs - rounds - 1
        if more > 0:
            later = interleave(
                {name: arm.epoch for name, arm in left.items()},
                rounds=more,
                warmup=0,
                synchronize=synchronize,
                after_round=_progress(left, epochs),
            )
            tables.append(Table(f"Epochs {epochs - more + 1} to {epochs} likewise", timing_rows(later)))
        tables.append(_index_table(notebook, options))
        slopes = {"notebook as written": notebook.run.first_slope, auto_name: auto.first_slope}
        rows: list[Row] = [
            {
                "arm": name,
                "seed": options.seed,
                "first_slope": slopes[name],
                "epochs": epochs,
                "training_part_s": sum(arm.training_s),
                **arm.quality().row(),
            }
            for name, arm in left.items()
        ]
    note = "Judged on all pairs of test images; balanced accuracy at probability 0.5. One training run each."
    return [*tables, Table("Quality of the weights kept", rows, (note,))]


def _training_part(arms: dict[str, RecipeArm]) -> Sequence[Timing]:
    """The training parts of the epochs so far, but for the first, which warms up."""
    return [Timing(name, tuple(arm.training_s[1:])) for name, arm in arms.items()]


def _index_table(notebook: NotebookArm, options: Options) -> Table:
    """Labels to pairs for training and test images: what the notebook did once at its start."""
    train, test = (load(options, "train").dataset, load(options, "test").dataset)

    def index() -> None:
        PairDataset(train, notebook_recipe.TRAIN_PAIRS, seed=options.seed)
        PairDataset(test, notebook_recipe.TEST_PAIRS, seed=options.seed)

    (timing,) = interleave({"pairsim": index}, rounds=_INDEX_ROUNDS)
    # the notebook indexes once in a run, so its one figure stands beside each of pairsim's
    once = Timing("notebook as written (one run)", (notebook.run.index_s,) * _INDEX_ROUNDS)
    rows = timing_rows([once, timing])
    rows[0]["runs"] = 1
    return Table(f"Indexing the labels of {len(train):,} training and {len(test):,} test images", rows)


def _progress(arms: dict[str, RecipeArm], epochs: int) -> Callable[[int], None]:
    def show(_: int) -> None:
        done = max(len(arm.training_s) for arm in arms.values())
        seconds = ", ".join(f"{name} {arm.training_s[-1]:.1f} s" for name, arm in arms.items())
        print(f"reference: epoch {done} of {epochs}, training part: {seconds}", file=sys.stderr, flush=True)

    return show
