"""An epoch of 20,000 pairs with the same maths, and the share of it that is spent waiting for data.

The arms are those of `reference` (see there for what each does and where they differ), for a few epochs only: the
notebook as written, pairsim in fp32, and pairsim in the precision that `auto` comes to. Beside them goes the limit: the
same trainer with the same steps, on one batch that is made beforehand and stays on the device, normalised and laid out
as the net takes it. What an epoch's training part takes longer than that is time waiting for data: drawing pairs,
picking pixels, copying and normalising them. The trainer's own count of waiting, which does not see normalising, is
given as well.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.notebook_recipe import BATCH_SIZE
from benchmarks.options import Options
from benchmarks.recipes import NotebookArm, PairsimArm, RecipeArm, num_pairs
from benchmarks.report import Table
from benchmarks.timing import Row, Spread, Timing, interleave, synchronizer, timing_rows

NOTEBOOK, FP32, AUTO = "notebook as written", "pairsim, fp32", "pairsim, auto"
LIMIT = "limit: same steps, data made beforehand"


def run(options: Options) -> list[Table]:
    """Compare epochs, and with the steps alone."""
    rounds = options.rounds or (1 if options.quick else 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fp32 = PairsimArm(folder / "fp32", options, "fp32", rounds + 1)
        auto = PairsimArm(folder / "auto", options, "auto", rounds + 1)
        steps = PairsimArm(folder / "steps", options, "auto", rounds + 1, resident=True)
        precision = auto.trainer.precision.name
        arms: dict[str, RecipeArm] = {
            NOTEBOOK: NotebookArm(folder, options),
            FP32: fp32,
            f"{AUTO} ({precision})": auto,
            f"{LIMIT} ({precision})": steps,
        }

        def progress(done: int) -> None:
            print(f"epoch: {done} of {rounds + 1}", file=sys.stderr, flush=True)

        timings = interleave(
            {name: arm.epoch for name, arm in arms.items()},
            rounds=rounds,
            synchronize=synchronizer(options.device),
            after_round=progress,
        )
        training = [Timing(name, tuple(arm.training_s[1:])) for name, arm in arms.items()]
        pairs = num_pairs(options)
        return [
            Table(f"An epoch of {pairs:,} pairs, with evaluation and saving", timing_rows(timings[:3])),
            Table("Its training part alone", timing_rows(training)),
            Table("Waiting for data", [_waiting_row(f"{AUTO} ({precision})", auto, steps)], _WAITING_NOTES),
        ]


_WAITING_NOTES = (
    "Share: of the training part, what it takes longer than the same steps on data made beforehand, in the same round. "
    "It is a small difference of two large times: below 0 means less than the machine's noise.",
    f"Batches of {BATCH_SIZE} pairs.",
)


def _waiting_row(name: str, arm: PairsimArm, steps: PairsimArm) -> Row:
    share = waiting_share(arm.training_s[1:], steps.training_s[1:])
    row: Row = {"arm": name, "share": share.median, "share_low": share.low, "share_high": share.high}
    counted = counted_waiting(arm)
    row |= {"counted_by_trainer": counted.median, "counted_high": counted.high}
    return row | {"runs": len(arm.training_s) - 1}


def waiting_share(training_s: list[float], steps_s: list[float]) -> Spread:
    """Share of each training part that is more than the steps alone, of runs that were neighbours in time."""
    return Spread.of([(whole - steps) / whole for whole, steps in zip(training_s, steps_s, strict=True)])


def counted_waiting(arm: PairsimArm) -> Spread:
    """Share of the training part that the trainer counts as waiting, but for the first epoch."""
    history = arm.trainer.history
    # the trainer's share is of the whole epoch, with validation
    waited = [share * seconds for share, seconds in zip(history.waiting, history.seconds, strict=True)]
    return Spread.of([waited_s / part for waited_s, part in zip(waited[1:], arm.training_s[1:], strict=True)])
