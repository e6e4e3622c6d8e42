"""What all tests share."""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from small_models import small_model
from trained_run import train_run

from pairsim import SimilarityModel
from pairsim.data import ImageTensors
from pairsim.training.objectives import objective_registry

# A busy machine is no failure.
settings.register_profile("pairsim", deadline=None)
settings.load_profile("pairsim")

# Until all tests are collected nothing can be freed, so searching for it only takes time.
gc.disable()

# Of several test processes each takes its share of the processor; more threads than cores would only wait.
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _PROCESSES > 1:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // _PROCESSES))


# A shell starts jobs in the background with SIGINT ignored, and the commands that tests start would inherit this.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _same_numbers_in_every_run() -> None:
    """A failure must come back when the test is run again."""
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():  # before that, `torch.manual_seed` notes the seed with its whole call stack
        torch.cuda.manual_seed_all(0)


@pytest.fixture(autouse=True)
def _registered_objectives_stay_in_their_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples in the docs register objectives, which no other test must see."""
    monkeypatch.setattr(objective_registry, "_REGISTERED", {})


@pytest.fixture(autouse=True)
def _operators_of_onnx_are_read_once() -> None:
    """Every export reads the source of all operators, which takes longer than the rest of a small one."""
    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    registry = getattr(module, "ONNXRegistry", None)
    read = getattr(registry, "from_torchlib", None)
    if registry is not None and read is not None and not hasattr(read, "cache_info"):
        registry.from_torchlib = staticmethod(functools.cache(read))


@pytest.fixture
def digits() -> ImageTensors:
    """120 images of 10 classes, 8 x 8; the first pixel of each is its own number, which tells it from all others."""
    images = torch.randint(0, 256, (120, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(120)
    return ImageTensors(images, [number % 10 for number in range(120)])


@pytest.fixture
def tiny_model() -> SimilarityModel:
    """An untrained model for grey images of 8 x 8, with embeddings of 8 dimensions."""
    return small_model()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on random images of ten classes; copy it before changing it."""
    return train_run(tmp_path_factory.mktemp("secret-place") / "my-run")
