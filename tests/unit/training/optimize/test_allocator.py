from __future__ import annotations

import ctypes
import threading
from typing import Any

import pytest
import torch

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.training.optimize import allocator


class FakeLibc:
    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.calls.append((option, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.calls.append((pad,))
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> FakeLibc:
    fake = FakeLibc()
    monkeypatch.setattr(allocator, "_glibc", lambda: fake)
    return fake


CPU = torch.device("cpu")


def test_settings_are_made_once_and_taken_back(libc: FakeLibc) -> None:
    with allocator.keeping_freed_memory(CPU) as kept, allocator.keeping_freed_memory(CPU):
        assert kept
        assert libc.calls == [(-4, 0), (-1, 2**31 - 1)]
    assert libc.calls[2:] == [(-4, 65536), (-3, 32 * 1024 * 1024), (-1, 64 * 1024 * 1024), (0,)]


def test_taken_back_after_a_failure(libc: FakeLibc) -> None:
    with pytest.raises(KeyError), allocator.keeping_freed_memory(CPU):
        raise KeyError
    assert libc.calls[-1] == (0,)


def test_the_last_of_several_threads_takes_it_back(libc: FakeLibc) -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with allocator.keeping_freed_memory(CPU):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with allocator.keeping_freed_memory(CPU):
        thread.start()
        assert entered.wait(10)
    assert len(libc.calls) == 2
    leave.set()
    thread.join(10)
    assert libc.calls[-1] == (0,)


def test_not_for_a_gpu_nor_against_the_users_own_choice(libc: FakeLibc, monkeypatch: pytest.MonkeyPatch) -> None:
    with allocator.keeping_freed_memory(torch.device("cuda")) as kept:
        assert not kept
    assert libc.calls == []
    monkeypatch.undo()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    with allocator.keeping_freed_memory(CPU) as kept:
        assert not kept


def test_between_epochs_the_process_is_as_it_was(libc: FakeLibc) -> None:
    images = ImageTensors(torch.randint(0, 256, (40, 8, 8), dtype=torch.uint8), [0, 1] * 20)
    model = SimilarityModel(EmbeddingNet(image_size=8))
    for number, _ in enumerate(Trainer(model, TrainConfig(epochs=2, device="cpu"), train=images).epochs(), start=1):
        assert libc.calls.count((-4, 0)) == number
        assert libc.calls[-1] == (0,)


def test_the_real_library_keeps_a_large_block(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    library: Any = allocator._glibc()
    if library is None:
        pytest.skip("no glibc here")
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    size = 64 << 20
    with allocator.keeping_freed_memory(CPU):
        first = library.malloc(size)
        library.free(first)
        # a block that was handed back to the system would be mapped anew; a kept one is used again
        second = library.malloc(size)
        library.free(second)
        assert first == second
