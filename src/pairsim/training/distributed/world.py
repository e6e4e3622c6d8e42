"""Several processes that train one model together, as `torchrun` starts them.

All arithmetic with ranks is here. With one process nothing is sent, and `torch.distributed` is not called.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import Tensor

from pairsim.errors import TrainingError

_CPU = torch.device("cpu")
_BUCKET_BYTES = 64 * 2**20
"""Tensors are joined to messages of about this size: few calls, and a copy that stays small."""

_made = False
"""Whether the process group was made here."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a training run and the place of this one among them.

    Every method that sends must be called by all processes, in the same order.

    Args:
        rank: Number of this process, from 0.
        size: Number of processes.
        local_rank: Number of this process on its machine, which is the number of its GPU.
        local_size: Processes on this machine.
        device: Where tensors must be to be sent.

    Example:
        >>> World(rank=1, size=3).part(8)
        slice(3, 6, None)
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: torch.device = _CPU

    @classmethod
    def found(cls) -> World:
        """The processes that there are: of the process group, else of the environment that `torchrun` sets.

        Raises:
            ValueError: If the environment's `RANK` and `WORLD_SIZE` do not fit together.
        """
        local_rank, local_size = _number("LOCAL_RANK"), _number("LOCAL_WORLD_SIZE")
        if dist.is_available() and dist.is_initialized():
            rank, size = dist.get_rank(), dist.get_world_size()
        else:
            rank, size = _number("RANK") or 0, _number("WORLD_SIZE") or 1
            if "RANK" not in os.environ:  # some job schedulers set the size alone, for processes that are on their own
                return cls()
        if not 0 <= rank < size:
            raise ValueError(
                f"Expected RANK to be in [0, WORLD_SIZE), found RANK {rank} and WORLD_SIZE {size} in the environment. "
                "Start with torchrun, which sets both, or unset them."
            )
        if size == 1:
            return cls()
        return cls(
            rank=rank,
            size=size,
            local_rank=rank if local_rank is None else local_rank,
            local_size=size if local_size is None else local_size,
        )

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and shows: rank 0."""
        return self.rank == 0

    def part(self, total: int, rank: int | None = None) -> slice:
        """Which of so many things in a row are a process's own: parts differ by one at most, the first are larger.

        Args:
            total: Number of things, at least 0.
            rank: The process; by default this one.
        """
        rank = self.rank if rank is None else rank
        least, more = divmod(total, self.size)
        start = rank * least + min(rank, more)
        return slice(start, start + least + (rank < more))

    def join(self) -> None:
        """Make the process group unless there is one.

        It is kept until the process ends: a program may train two models, and a group is not made twice under the
        same names.

        Raises:
            TrainingError: If the processes do not find each other.
        """
        global _made  # noqa: PLW0603  the group is the process's own
        atexit.unregister(_leave)
        if self.size == 1 or dist.is_initialized():
            return
        on_gpu = self.device.type == "cuda"
        try:
            dist.init_process_group(
                "nccl" if on_gpu else "gloo",
                rank=self.rank,
                world_size=self.size,
                device_id=self.device if on_gpu else None,
            )
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(
                f"Expected {self.size} processes to find each other, rank {self.rank} did not ({reason}). "
                "Start them with torchrun, which sets MASTER_ADDR and MASTER_PORT."
            ) from error
        _made = True

    def part_in_peace(self) -> None:
        """Wait for the others at the end, and have a group that `join` made taken down when the process ends.

        After a failure it is not: taking it down could wait for processes that wait for this one.
        """
        self.barrier()
        if self.size > 1 and _made:
            atexit.register(_leave)

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.all_reduce(torch.zeros((), device=self.device))

    @contextlib.contextmanager
    def one_first(self, wanted: bool = True) -> Iterator[None]:
        """Inside, the first process of each machine is alone, and the others follow when it is done."""
        alone = self.local_rank == 0
        if wanted and not alone:
            self.barrier()
        try:
            yield
        finally:
            if wanted and alone:
                self.barrier()

    @torch.no_grad()
    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, the same bits everywhere."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            _put_back(bucket, flat)

    @torch.no_grad()
    def take_over(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by that of rank 0."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.broadcast(flat.view(torch.uint8), src=0)
            _put_back(bucket, flat)

    @torch.no_grad()
    def gathered(self, own: Tensor, rows: slice, total: int) -> Tensor:
        """The rows of all processes together.

        As a sum of matrices with zeros in the rows of others, which takes parts of any size, empty ones too.

        Args:
            own: `[n, ...]`, the rows of this process.
            rows: Where they belong; those of all processes cover everything once.
            total: Rows of all processes, N.

        Returns:
            `[N, ...]`, without gradients.
        """
        if self.size == 1:
            return own.detach()
        whole = own.new_zeros((total, *own.shape[1:]))
        whole[rows] = own
        dist.all_reduce(whole)
        return whole

    def agreed(self, numbers: Sequence[float]) -> list[float]:
        """The numbers of rank 0, so that what is decided by them is decided alike."""
        if self.size == 1:
            return list(numbers)
        sent = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.broadcast(sent, src=0)
        return [float(number) for number in sent.tolist()]

    def any(self, holds: bool) -> bool:
        """Whether something holds in any process."""
        if self.size == 1:
            return holds
        count = torch.tensor(int(holds), device=self.device)
        dist.all_reduce(count)
        return bool(count.item())

    def unlike_main(self, digest: bytes) -> list[int]:
        """Ranks whose digest, of 8 bytes, differs from that of rank 0."""
        if self.size == 1:
            return []
        own = torch.frombuffer(bytearray(digest), dtype=torch.int64).to(self.device)
        every = self.gathered(own, slice(self.rank, self.rank + 1), self.size)
        return [rank for rank in range(self.size) if every[rank] != every[0]]

    def shared(self, content: bytes) -> bytes:
        """The bytes of rank 0."""
        if self.size == 1:
            return content
        length = torch.tensor(len(content), device=self.device)
        dist.broadcast(length, src=0)
        sent = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.is_main and content:
            sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(sent, src=0)
        return sent.cpu().numpy().tobytes()


def _number(name: str) -> int | None:
    value = os.environ.get(name)
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"Expected {name} in the environment to be a whole number, found {value!r}.") from None


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one dtype and device, about as much as a message holds."""
    by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        by_kind.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for alike in by_kind.values():
        ends = accumulate(tensor.nbytes for tensor in alike)
        numbers = [(end - 1) // _BUCKET_BYTES for end in ends]
        for number in sorted(set(numbers)):
            yield [tensor for tensor, own in zip(alike, numbers, strict=True) if own == number]


def _put_back(bucket: list[Tensor], flat: Tensor) -> None:
    for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
        tensor.copy_(part.view(tensor.shape))
