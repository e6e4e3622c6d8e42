"""Collective operations of processes that train one model together, as started by `torchrun`.

All arithmetic with ranks is here. With one process nothing is sent, and `torch.distributed` is not called.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pairsim.errors import DataError, RunError, TrainingError
from pairsim.training.config import TrainConfig

T = TypeVar("T")

_CPU = torch.device("cpu")
_BUCKET_BYTES = 64 * 2**20
"""Tensors are concatenated to messages of about this size: few calls, and little memory for the copy."""

_MAX_WAIT = datetime.timedelta(hours=12)
"""Time that the first process may spend on what the others wait for, such as reading images into a cache."""

_PER_PROCESS = {"out", "progress"}
"""Settings that may differ between processes."""

_owns_group = False
"""Whether `init_process_group` created the process group."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a training run, and the rank of this one.

    All processes must call the collective methods, in the same order.

    Args:
        rank: Number of this process, from 0.
        size: Number of processes.
        local_rank: Number of this process on its machine, which is the number of its GPU.
        local_size: Number of processes on this machine.
        device: Device of the tensors that are sent.

    Example:
        >>> World(rank=1, size=3).shard(8)
        slice(3, 6, None)
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: torch.device = _CPU

    @classmethod
    def from_env(cls) -> World:
        """Read the processes from the process group, or from the environment variables that `torchrun` sets.

        Raises:
            ValueError: If `RANK` and `WORLD_SIZE` are not whole numbers, or `RANK` is not below `WORLD_SIZE`.
        """
        if dist.is_available() and dist.is_initialized():
            rank, size = dist.get_rank(), dist.get_world_size()
        elif "RANK" in os.environ:
            rank, size = _env_number("RANK", 0), _env_number("WORLD_SIZE", 1)
        else:  # some job schedulers set WORLD_SIZE only, for independent processes
            return cls()
        if not 0 <= rank < size:
            raise ValueError(
                f"Expected RANK to be in [0, WORLD_SIZE), found RANK {rank} and WORLD_SIZE {size} in the environment. "
                "Start with torchrun, which sets both, or unset them."
            )
        if size == 1:
            return cls()
        local_rank, local_size = _env_number("LOCAL_RANK", rank), _env_number("LOCAL_WORLD_SIZE", size)
        return cls(rank=rank, size=size, local_rank=local_rank, local_size=local_size)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the process that writes files and prints."""
        return self.rank == 0

    def shard(self, total: int) -> slice:
        """Return the items of this process: sizes differ by one at most, and the first shards are the larger ones.

        Args:
            total: Number of items of all processes, at least 0.
        """
        smallest, larger = divmod(total, self.size)
        start = self.rank * smallest + min(self.rank, larger)
        return slice(start, start + smallest + (self.rank < larger))

    def init_process_group(self) -> None:
        """Create the process group unless it exists.

        It exists until the process ends, because a program may train two models and cannot create the same group twice.

        Raises:
            TrainingError: If the processes cannot connect.
        """
        global _owns_group  # noqa: PLW0603  there is one group in a process
        atexit.unregister(_destroy_group)
        if self.size == 1 or dist.is_initialized():
            return
        backend, device = ("nccl", self.device) if self.device.type == "cuda" else ("gloo", None)
        try:
            dist.init_process_group(backend, rank=self.rank, world_size=self.size, device_id=device)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(
                f"Expected {self.size} processes to find each other, rank {self.rank} did not ({reason}). "
                "Start them with torchrun, which sets MASTER_ADDR and MASTER_PORT."
            ) from error
        _owns_group = True

    def destroy_at_exit(self) -> None:
        """Wait for all processes, and destroy a group of `init_process_group` when the process ends.

        Call it after success only: after a failure, destroying the group could wait forever for other processes.
        """
        self.barrier()
        if self.size > 1 and _owns_group:
            atexit.register(_destroy_group)

    def barrier(self) -> None:
        """Wait for all processes."""
        self.any_rank(False)

    @contextlib.contextmanager
    def main_first(self, wanted: bool = True) -> Iterator[None]:
        """Run the block in the first process of each machine, then in its other processes.

        They wait on the host and for hours: an operation of NCCL that waits for ten minutes ends all processes.
        """
        if self.size == 1 or not wanted:
            yield
            return
        group = cast("dist.ProcessGroup", dist.new_group(backend="gloo", timeout=_MAX_WAIT))
        is_first = self.local_rank == 0
        if not is_first:
            dist.barrier(group)
        try:
            yield
        finally:
            if is_first:
                dist.barrier(group)

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, with the same bits in all of them."""
        self._in_buckets(dist.all_reduce, tensors)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by that of rank 0."""
        self._in_buckets(_broadcast_bits, tensors)

    @torch.no_grad()
    def _in_buckets(self, operation: Callable[[Tensor], object], tensors: Iterable[Tensor]) -> None:
        for bucket in _buckets(tensors) if self.size > 1 else ():
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            operation(flat)
            for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view(tensor.shape))

    def of_main(self, value: T) -> T:
        """Return the value of rank 0.

        Args:
            value: Nested lists, tuples and dictionaries of numbers, text and tensors, which are sent without pickling
                other objects. Tensors arrive on the CPU.
        """
        if self.size == 1:
            return value
        content = io.BytesIO()
        torch.save(value if self.is_main else None, content)
        length = torch.tensor(content.tell(), device=self.device)
        self.broadcast([length])
        sent = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.is_main:
            sent.copy_(torch.frombuffer(content.getbuffer(), dtype=torch.uint8))
        self.broadcast([sent])
        received = io.BytesIO(sent.cpu().numpy().tobytes())
        return cast("T", torch.load(received, map_location="cpu", weights_only=True))

    def call_on_main(self, read: Callable[[], T]) -> T:
        """Call a function in rank 0 and return its result in all processes, whose machines may not have its files.

        Args:
            read: Returns what `of_main` takes.

        Raises:
            RunError: If `read` raised it in rank 0, with the same message in all processes.
        """
        result, failure = None, None
        if self.is_main:
            try:
                result = read()
            except RunError as error:
                failure = error
        result, message = self.of_main((result, None if failure is None else str(failure)))
        if message is not None:
            raise failure or RunError(message)
        return cast("T", result)

    @torch.no_grad()
    def all_gather(self, own: Tensor, rows: slice, total: int) -> Tensor:
        """Return the rows of all processes.

        Computed as a sum of matrices with zeros in the rows of other processes, so that parts of any size, also empty
        ones, are possible.

        Args:
            own: `[n, ...]`, the rows of this process.
            rows: Their position; the rows of all processes cover each position once.
            total: Number of rows of all processes, N.

        Returns:
            `[N, ...]`, without gradients.
        """
        if self.size == 1:
            return own.detach()
        gathered = own.new_zeros((total, *own.shape[1:]))
        gathered[rows] = own
        dist.all_reduce(gathered)
        return gathered

    def any_rank(self, condition: bool) -> bool:
        """Whether a condition is true in any process."""
        if self.size == 1:
            return condition
        count = torch.tensor(int(condition), device=self.device)
        dist.all_reduce(count)
        return bool(count.item())


def check_same(world: World, fingerprint: dict[str, Any], config: TrainConfig, model: nn.Module) -> None:
    """Check that all processes train the same model on the same data; if one does not, all of them raise.

    Args:
        world: The processes.
        fingerprint: Of the data.
        config: Resolved.
        model: Compared by names, shapes and dtypes of its state.

    Raises:
        DataError: If images or labels differ.
        ValueError: If settings or models differ.
    """
    if world.size == 1:
        return
    state = [(name, list(value.shape), str(value.dtype)) for name, value in model.state_dict().items()]
    settings = {name: value for name, value in config.to_dict().items() if name not in _PER_PROCESS}
    for error, what, content in (
        (DataError, "images and labels", fingerprint),
        (ValueError, "settings", settings),
        (ValueError, "net", state),
    ):
        digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=7).digest()
        own = torch.tensor([int.from_bytes(digest)], device=world.device)
        digests = world.all_gather(own, slice(world.rank, world.rank + 1), world.size).tolist()
        others = [rank for rank, other in enumerate(digests) if other != digests[0]]
        if others:
            raise error(
                f"Expected the same {what} in all {world.size} processes, found others in rank "
                f"{', '.join(map(str, others))} than in rank 0. Each process takes its own part of what it is given: "
                "give all of them the same."
            )


def _broadcast_bits(tensor: Tensor) -> None:
    dist.broadcast(tensor.view(torch.uint8), src=0)  # not all backends send all dtypes


def _env_number(name: str, default: int) -> int:
    value = os.environ.get(name, default)
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"Expected {name} in the environment to be a whole number, found {value!r}.") from None


def _destroy_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _buckets(tensors: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    """Group tensors by dtype and device, into messages of about `_BUCKET_BYTES`."""
    buckets: dict[Any, list[Tensor]] = {}
    sizes = Counter[Any]()
    for tensor in tensors:
        kind = tensor.dtype, tensor.device
        sizes[kind] += tensor.nbytes
        buckets.setdefault((kind, (sizes[kind] - 1) // _BUCKET_BYTES), []).append(tensor)
    return buckets.values()
