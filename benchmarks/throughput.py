"""Training images a second by batch size, precision and way of carrying out the step.

The step is that of `benchmarks.steps`, on images that stay on the device. All arms of a batch size take turns; the
ratio is to fp32, eager, at that batch size. On a GPU one timed run is 50 steps, as a step takes less time than waiting
for it. On the CPU it is one, and only eager steps are timed, as compiling does not help there.
"""

from __future__ import annotations

import sys

import torch

from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.steps import Mode, make_step, repeated
from benchmarks.timing import Row, interleave, synchronizer, timing_rows
from pairsim._common.choices import PrecisionName
from pairsim.training.optimize.allocator import keeping_freed_memory

_CPU_BATCHES, _CUDA_BATCHES = (64, 256, 512, 1024), (128, 512, 1024, 4096, 16384)
_QUICK_BATCHES = (64, 256)


def run(options: Options) -> list[Table]:
    """Time the arms of each batch size."""
    cuda = torch.device(options.device).type == "cuda"
    batches = _QUICK_BATCHES if options.quick else _CUDA_BATCHES if cuda else _CPU_BATCHES
    precisions: tuple[PrecisionName, ...] = ("fp32", "bf16", "fp16") if cuda else ("fp32", "bf16")
    modes: tuple[Mode, ...] = ("eager", "compiled", "graphed") if cuda else ("eager",)
    steps = 50 if cuda else 1
    rows: list[Row] = []
    notes = ["Ratio: images a second, to the first row of the same batch size."]
    for batch in batches:
        print(f"throughput: batch {batch}", file=sys.stderr, flush=True)
        arms = {}
        for precision in precisions:
            for mode in modes:
                if mode == "graphed" and precision == "fp16":
                    continue  # the scaler of fp16 looks at gradients between steps
                try:
                    step = make_step(batch, precision, device=options.device, mode=mode)
                    arms[f"{precision}, {mode}"] = repeated(step, steps)
                except RuntimeError as error:
                    notes.append(f"{precision}, {mode}, batch {batch}: {str(error).strip().splitlines()[0]}")
        with keeping_freed_memory(torch.device(options.device)):  # as the trainer does
            timings = interleave(
                arms,
                rounds=options.rounds or (3 if options.quick else 20),
                work=dict.fromkeys(arms, float(steps * batch)),
                synchronize=synchronizer(options.device),
            )
        rows += [{"batch": batch, **row} for row in timing_rows(timings, unit="images")]
    return [Table("Training images a second", rows, tuple(notes))]
