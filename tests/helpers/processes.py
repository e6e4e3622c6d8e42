"""Run functions in several processes that train together."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import start_processes

from pairsim.training.distributed.world import World

Job = Callable[[Path], Any]


def _work(rank: int, size: int, port: int, folder: Path, jobs: list[Job]) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo",
    )  # fmt: skip
    World.from_env().init_process_group()
    torch.save({job.__name__: job(folder) for job in jobs}, folder / f"{size}-{rank}.pt")
    torch.distributed.barrier()  # a process that ends while others still need it can abort in gloo's threads
    torch.distributed.destroy_process_group()


def run_together(size: int, folder: Path, jobs: list[Job]) -> list[dict[str, Any]]:
    """Run jobs in each of several processes and return the results of each process, by the names of the jobs.

    If a process fails, its error is raised. After 100 seconds all processes are ended.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = start_processes(_work, args=(size, port, folder, jobs), nprocs=size, join=False, start_method="spawn")
    end = time.monotonic() + 100
    while not context.join(timeout=1):
        if time.monotonic() > end:
            for process in context.processes:
                process.kill()
            pytest.fail("The processes did not end within 100 seconds.")
    return [torch.load(folder / f"{size}-{rank}.pt", weights_only=False) for rank in range(size)]
