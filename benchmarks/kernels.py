"""What a training step launches on a GPU, and how fast the device is at best.

A step of `benchmarks.steps`, eager, as PyTorch's profiler sees it: kernels, the sum of their times, and the wall time
of the step, whose rest the device is idle. On the CPU the operations of PyTorch are counted in place of kernels. The
peaks are a matrix product in each number format, and a copy within the device, each the best of several.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.steps import make_step
from benchmarks.timing import Row, synchronizer
from pairsim._common.choices import PrecisionName

_BATCHES, _QUICK_BATCHES = (128, 512, 4096), (64,)
_RUNS = 10


def run(options: Options) -> list[Table]:
    """Count the kernels of steps, and measure the peaks."""
    precisions: tuple[PrecisionName, ...] = ("fp32", "bf16")
    batches = _QUICK_BATCHES if options.quick else _BATCHES
    steps = [step_row(batch, precision, options) for batch in batches for precision in precisions]
    what = "kernels" if torch.device(options.device).type == "cuda" else "operations of PyTorch"
    return [
        Table("Kernels of a training step", steps, (f"kernels: {what}; busy_s: the sum of their own times.",)),
        Table("Peaks of the device", peaks(options), ("fp32, TF32: matrix products in fp32 that may round to TF32.",)),
    ]


def step_row(batch: int, precision: PrecisionName, options: Options) -> Row:
    """Profile a step that is warmed up."""
    step, wait = make_step(batch, precision, device=options.device), synchronizer(options.device) or (lambda: None)
    wait()
    began = time.perf_counter()
    for _ in range(_RUNS):
        step()
    wait()
    seconds = (time.perf_counter() - began) / _RUNS
    cuda = torch.device(options.device).type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        step()
        wait()
    kind = "CUDA" if cuda else "CPU"
    events = [event for event in profiler.events() or () if event.device_type.name == kind]
    own = [event.self_device_time_total if cuda else event.self_cpu_time_total for event in events]
    return {
        "arm": f"batch {batch:,}, {precision}",
        "kernels": len(events),
        "busy_s": sum(own) / 1e6,
        "seconds": seconds,
        "images_per_s": batch / seconds,
    }


def peaks(options: Options) -> list[Row]:
    """Measure matrix products and a copy."""
    cuda = torch.device(options.device).type == "cuda"
    side = 256 if options.quick else 8192 if cuda else 1024
    rows: list[Row] = []
    for name, dtype, tf32 in (
        ("fp32", torch.float32, False),
        *((("fp32, TF32", torch.float32, True),) if cuda else ()),
        ("bf16", torch.bfloat16, False),
    ):
        left = torch.randn(side, side, device=options.device).to(dtype)
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        try:
            seconds = best_of(lambda left=left: left @ left, options)  # type: ignore[misc]
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
        rows.append({"arm": f"matrix product, {name}", "seconds": seconds, "tflop_per_s": 2 * side**3 / seconds / 1e12})
    values = torch.zeros(2**20 if options.quick else 2**28 if cuda else 2**24, device=options.device)
    other = torch.empty_like(values)
    seconds = best_of(lambda: other.copy_(values), options)
    moved = 2 * values.numel() * values.element_size()
    rows.append({"arm": "copy within the device", "seconds": seconds, "gb_per_s": moved / seconds / 1e9})
    return rows


def best_of(work: Callable[[], Tensor], options: Options) -> float:
    """The shortest of some runs, in seconds."""
    wait = synchronizer(options.device) or (lambda: None)
    found = []
    for _ in range(_RUNS):
        wait()
        began = time.perf_counter()
        work()
        wait()
        found.append(time.perf_counter() - began)
    return min(found)
