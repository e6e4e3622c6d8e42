"""Memory that runs out: one line that names a batch size to try, and that batch size fits where memory is left."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from picture_files import write_pictures
from run_command import environment, here
from small_models import small_model

from pairsim import EmbeddingNet
from pairsim.training.optimize.step import TrainingStep


def test_training_names_a_batch_size_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = TrainingStep.__call__

    def limited(self: TrainingStep, images: torch.Tensor, targets: torch.Tensor, *, update: bool) -> torch.Tensor:
        if len(images) > 100:
            torch.empty(10**15)
        return step(self, images, targets, update=update)

    monkeypatch.setattr(TrainingStep, "__call__", limited)
    call = ["train", "digits", "--out", "run", "--epochs", "1", "--no-report", "--batch-size"]
    done = here(*call, "128", cwd=tmp_path)
    assert (done.status, done.out) == (1, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("pairsim: out of memory (")
    assert last.endswith("Batches of 128 need more than there is. Try --batch-size 64.")
    assert here(*call, "64", cwd=tmp_path).status == 0  # in the same folder, where nothing was trained yet


def test_inference_names_the_size_of_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()

    def too_large(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model.embedding_net, "forward", too_large)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        model.encode(torch.zeros(40, 1, 8, 8, dtype=torch.uint8), batch_size=20)
    assert caught.value.__notes__ == [
        "Batches of 20 need more than there is. Try --batch-size 10, or batch_size=10 in Python."
    ]


LIMITED = """
import resource, sys
import pairsim.training.trainer, pairsim.models, pairsim.data, sklearn.datasets, torch
from pairsim.cli.app import run
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 600_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory")
def test_a_process_with_little_memory(tmp_path: Path) -> None:
    call = ["train", "digits", "--out", "run", "--epochs", "1", "--no-report", "--precision", "fp32"]
    call += ["--objective", "pairs", "--num-pairs", "200000", "--batch-size", "100000"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *call],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    # in a step the trainer tries smaller batches, elsewhere half of the batch is named
    fits = re.match(r"pairsim: Expected memory for a batch of 100000 on cpu, .* --batch-size (\d+) fits\.", last)
    if fits is not None:
        assert 2 <= int(fits[1]) < 100_000
    else:
        assert last.startswith(("pairsim: out of memory (", "pairsim: could not create a primitive. This may be"))
        assert last.endswith("Try --batch-size 50000.")


@pytest.mark.parametrize("call", [["encode", "run", "pics", "--out", "e.npz"], ["search", "run", "pics", "pics/0.png"]])
def test_commands_embed_in_batches_of_the_size_that_is_asked_for(
    call: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def noted(self: EmbeddingNet, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return torch.nn.functional.normalize(images.flatten(1)[:, :8].float() + 1)

    small_model().save_pretrained(tmp_path / "run")
    write_pictures(tmp_path / "pics", [f"{number}.png" for number in range(5)])
    monkeypatch.setattr(EmbeddingNet, "forward", noted)
    assert here(*call, "--batch-size", "2", "--json", cwd=tmp_path).status == 0
    assert max(sizes) == 2
    assert sum(sizes) >= 5
