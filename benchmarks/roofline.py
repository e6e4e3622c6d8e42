"""A training step beside what the hardware could do: counted operations and bytes, and measured peaks.

Every operation of one step (`benchmarks.steps`, 512 images) is counted as it is carried out: floating-point operations
of convolutions and matrix products by PyTorch's own counter, and bytes as the tensors that it reads and the tensors
that it writes, each once. The peaks are measured in the same minute, in turns with the step: a large matrix product
in the step's precision, and a copy of a large tensor. An operation can take no less than its operations at the one
peak and no less than its bytes at the other; the bound of a step is the sum of the larger ones. The share reached is
that bound divided by the measured seconds.

Counting operations one by one leaves fusing out: a step whose operations were fused would move fewer bytes, and could
be faster than this bound. A tensor that is small enough to stay in a cache moves no bytes at all; then the share may
exceed 1. Operations below bfloat16 autocast are counted in the type they are carried out in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.steps import make_step
from benchmarks.timing import Row, Spread, interleave, synchronizer
from pairsim._common.choices import PrecisionName
from pairsim.training.optimize.allocator import keeping_freed_memory

_IMAGES, _QUICK_IMAGES = 512, 128
_SIDE = {"cpu": 2048, "cuda": 8192}
_COPY_BYTES = {"cpu": 256 * 2**20, "cuda": 2 * 2**30}
_NOTHING_MOVED = ("aten.empty", "aten.new_empty", "aten.detach", "aten._unsafe_view", "aten.lift_fresh")
_DTYPES: dict[PrecisionName, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Operation:
    """One operation that was carried out.

    Attributes:
        name: By PyTorch's name.
        flops: Floating-point operations, of convolutions and matrix products.
        bytes: Of the tensors read and written.
    """

    name: str
    flops: int
    bytes: int


@dataclass(frozen=True)
class Peaks:
    """What was measured of the hardware.

    Attributes:
        flops_per_s: Of a large matrix product.
        bytes_per_s: Read and written by a large copy.
    """

    flops_per_s: float
    bytes_per_s: float


class OperationCounter(TorchDispatchMode):
    """Counts what is carried out inside: `with OperationCounter() as counter: ...; counter.operations`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        result = func(*args, **named)
        if not func.is_view and not str(func).startswith(_NOTHING_MOVED):
            count = flop_registry.get(func.overloadpacket)
            flops = int(count(*args, **named, out_val=result)) if count is not None else 0
            size = moved(tensors((args, named))) + moved(tensors((result, _mutated(func, args, named))))
            self.operations.append(Operation(str(func), flops, size))
        return result


def _mutated(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """Arguments that an operation writes to."""
    found = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(args[place] if place < len(args) else kwargs.get(argument.name))
    return found


def tensors(values: Any) -> list[Tensor]:
    """The tensors in nested arguments."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def moved(values: Iterable[Tensor]) -> int:
    """Bytes of tensors, those of one that is there twice counted once."""
    return sum(size for _, size in {(value.data_ptr(), value.numel() * value.element_size()) for value in values})


def bound_s(operations: Iterable[Operation], peaks: Peaks) -> float:
    """The least seconds that operations can take one after the other."""
    return sum(max(part.flops / peaks.flops_per_s, part.bytes / peaks.bytes_per_s) for part in operations)


def run(options: Options) -> list[Table]:
    """Count and time a step in each precision, with the peaks."""
    kind = torch.device(options.device).type
    images = _QUICK_IMAGES if options.quick else _IMAGES
    rounds = options.rounds or (3 if options.quick else 15)
    side, copied = _SIDE[kind], _COPY_BYTES[kind]
    if options.quick:
        side, copied = side // 2, copied // 4
    rows: list[Row] = []
    for precision, dtype in _DTYPES.items():
        print(f"roofline: {precision}", file=sys.stderr, flush=True)
        with keeping_freed_memory(torch.device(options.device)):  # as the trainer does
            step = make_step(images, precision, device=options.device)
            with OperationCounter() as counter:
                step()
            product, product_flops = matrix_product(side, dtype, options.device)
            copy, copy_bytes = large_copy(copied, options.device)
            timings = interleave(
                {"step": step, "product": product, "copy": copy},
                rounds=rounds,
                warmup=2,
                synchronize=synchronizer(options.device),
            )
        seconds = [timing.seconds for timing in timings]
        peaks = Peaks(product_flops / min(seconds[1]), copy_bytes / min(seconds[2]))
        rows.append({"arm": precision, **row(images, counter.operations, Spread.of(seconds[0]), peaks), "runs": rounds})
    notes = (
        "Peaks are the fastest of all runs, so that noise does not make the bound easier to reach.",
        f"Matrix product of side {side:,}; copy of {copied // 2**20} MiB, read and written.",
        "Ratio: share of the bound's speed that the step reaches.",
    )
    return [Table(f"A training step of {images} images beside its bound", rows, notes)]


def row(images: int, operations: list[Operation], step_s: Spread, peaks: Peaks) -> Row:
    """The figures of one precision."""
    flops, moved_bytes = sum(part.flops for part in operations), sum(part.bytes for part in operations)
    bound = bound_s(operations, peaks)
    return {
        "mflop_an_image": flops / images / 1e6,
        "kb_an_image": moved_bytes / images / 1e3,
        "peak_gflops": peaks.flops_per_s / 1e9,
        "peak_gb_per_s": peaks.bytes_per_s / 1e9,
        "only_operations_s": flops / peaks.flops_per_s,
        "only_bytes_s": moved_bytes / peaks.bytes_per_s,
        "bound_s": bound,
        "seconds": step_s.median,
        "seconds_low": step_s.low,
        "seconds_high": step_s.high,
        "images_per_s": images / step_s.median,
        "ratio": bound / step_s.median,
    }


def matrix_product(side: int, dtype: torch.dtype, device: str) -> tuple[Callable[[], object], int]:
    """A product of two square matrices to call, and its floating-point operations."""
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: left @ right, 2 * side**3


def large_copy(num_bytes: int, device: str) -> tuple[Callable[[], object], int]:
    """A copy between two tensors to call, and the bytes that it reads and writes."""
    source = torch.ones(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2 * source.numel() * 4
