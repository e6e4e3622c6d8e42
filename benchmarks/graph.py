"""A training step of 512 images eager, with the net compiled, and replayed as one CUDA graph, on a GPU.

The step is that of `benchmarks.steps`: the same net, images and optimizer in all arms, on images that stay on the
device. Several steps make up one timed run, as one takes less than a millisecond. Compiling and recording are done
before the clock runs.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.steps import Mode, make_step, repeated
from benchmarks.timing import interleave, synchronizer, timing_rows
from pairsim._common.choices import PrecisionName

_IMAGES = 512
_STEPS = 50


def run(options: Options) -> list[Table]:
    """Time the arms in fp32 and in bf16."""
    tables = []
    precisions: tuple[PrecisionName, ...] = ("fp32", "bf16")
    modes: tuple[Mode, ...] = ("eager", "compiled", "graphed")
    for precision in precisions:
        arms: dict[str, Callable[[], object]] = {}
        notes = [f"{_STEPS} steps a run. Ratio: to eager."]
        for mode in modes:
            try:
                arms[mode] = repeated(make_step(_IMAGES, precision, device=options.device, mode=mode), _STEPS)
            except RuntimeError as error:
                notes.append(f"{mode}: {str(error).strip().splitlines()[0]}")
        timings = interleave(
            arms,
            rounds=options.rounds or (3 if options.quick else 20),
            work=dict.fromkeys(arms, float(_IMAGES * _STEPS)),
            synchronize=synchronizer(options.device),
        )
        rows = [row | {"ms_a_step": 1000 * row["seconds"] / _STEPS} for row in timing_rows(timings, unit="images")]
        tables.append(Table(f"A training step of {_IMAGES} images, {precision}", rows, tuple(notes)))
    return tables
