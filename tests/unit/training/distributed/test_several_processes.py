"""Training with several processes: jobs run in one, two and three processes on the CPU, and results are compared."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from held_folders import held
from processes import Job, run_together
from small_runs import CutOffError, last_state, random_images
from states import assert_same
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from pairsim import Callback, EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim._common.precision import Precision
from pairsim.data import ClassIndex, ImageTensors, stratified_split
from pairsim.errors import RunError, TrainingError
from pairsim.training.distributed.world import World
from pairsim.training.objectives.objective_registry import objective_for
from pairsim.training.optimize.batch_norm import share_buffers
from pairsim.training.optimize.step import TrainingStep

# --- what is trained ---


def toy_images() -> ImageTensors:
    return random_images(61)


def bright_images() -> ImageTensors:
    """Classes differ in brightness, so that the parts of a batch have statistics of their own."""
    images = toy_images()
    lighter = torch.as_tensor(images.targets).view(-1, 1, 1, 1) * 80
    return ImageTensors((images.images // 3 + lighter).to(torch.uint8), images.targets)


def toy_model(*layers: nn.Module) -> SimilarityModel:
    torch.manual_seed(1)
    return SimilarityModel(
        EmbeddingNet(nn.Sequential(nn.Conv2d(1, 4, 3), *layers, nn.ReLU()), image_size=8, embedding_dim=6)
    )


def with_batch_norm() -> SimilarityModel:
    return toy_model(nn.BatchNorm2d(4), nn.Dropout(0.3))


def squares(embeddings: Tensor, labels: Tensor) -> Tensor:
    return ((embeddings @ embeddings.T - (labels[:, None] == labels[None, :]).to(embeddings.dtype)) ** 2).mean()


def fit(model: SimilarityModel, train: Any = None, callbacks: tuple[Callback, ...] = (), **settings: Any) -> Trainer:
    settings = {"epochs": 3, "batch_size": 8, "precision": "fp32", **settings}
    trainer = Trainer(model, TrainConfig(**settings), train=train or toy_images(), callbacks=callbacks)
    trainer.fit()
    return trainer


def outcome(trainer: Trainer) -> dict[str, Any]:
    return {
        "records": [dataclasses.asdict(record) for record in trainer.history],
        "state": trainer.model.state_dict(),
        "point": None if trainer.model.operating_point is None else dataclasses.astuple(trainer.model.operating_point),
        "notes": trainer.history.notes,
    }


# --- jobs, which run in one process and in two and three processes together ---

STEPS: dict[str, tuple[int, dict[str, Any]]] = {
    "all-pairs": (13, {"objective": "all-pairs"}),
    "all-pairs-options": (13, {"objective": "all-pairs", "hard_pairs": 1.5, "prior": 0.3, "memory_size": 20}),
    "fewer-images-than-processes": (2, {"objective": "all-pairs"}),
    "accumulated": (13, {"objective": "all-pairs", "grad_accumulation": 2, "grad_clip": 0.01}),
    "function": (13, {"objective": squares}),
    "pairs": (14, {"objective": "pairs"}),
}


def descent(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1.0)


def gradients(_: Path) -> Any:
    """Two updates by gradient descent with rate 1, in float64: the weights are then sums of gradients."""
    world = World.from_env()
    found = {}
    for name, (num, settings) in STEPS.items():
        torch.manual_seed(2)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 5))
        net.embedding_dim = 5  # type: ignore[assignment]
        model = SimilarityModel(net).double()
        config = TrainConfig(optimizer=descent, **settings).resolved()
        step = TrainingStep(
            model, objective_for(config), config, Precision("fp32", "cpu"), note=lambda _: None, world=world
        )
        losses = []
        for number in range(4):
            images = torch.rand(num, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
            labels = torch.arange(num) % 2
            targets = labels[: num // 2].float() if name == "pairs" else labels
            own = images[world.shard(num)]
            update = number % config.grad_accumulation == config.grad_accumulation - 1
            losses.append(step(own if len(own) else images[:1], targets, update=update))
        found[name] = (torch.stack(losses), {key: value.detach() for key, value in model.named_parameters()})
    return found


RUNS: dict[str, dict[str, Any]] = {
    "all-pairs": {"ema_decay": 0.9, "memory_size": 16},
    "pairs": {"objective": "pairs", "num_pairs": 50, "grad_accumulation": 2, "scheduler": "plateau"},
    "classes": {"objective": "normalized-softmax", "grad_clip": 0.5, "sam_rho": 0.1},
    "function": {"objective": squares, "grad_clip": 0.5, "freeze": "0"},
    "fp16": {"precision": "fp16", "scheduler": "none", "learning_rate": 1e-3},
}


def complete_runs(folder: Path) -> Any:
    return {name: outcome(fit(toy_model(), **settings)) for name, settings in RUNS.items()}


def batch_norm_run(folder: Path) -> Any:
    settings: dict[str, Any] = {"augment": "affine", "ema_decay": 0.7, "val_fraction": 0.5}
    return outcome(fit(with_batch_norm(), bright_images(), out=folder / f"bn-{World.from_env().size}", **settings))


def buffers(_: Path) -> Any:
    """Buffers that differ between processes, after sharing."""
    world = World.from_env()
    net = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    net.register_buffer("own", torch.tensor([world.rank * 3, 7]))
    for number, name in enumerate(("0.running_mean", "0.running_var", "1.running_mean")):
        net.get_buffer(name).fill_(world.rank + number)
    share_buffers([net], world, skip=lambda name: name == "1")
    return {name: value.clone() for name, value in net.named_buffers()}


def validation_of_untrained(_: Path) -> Any:
    """Training with learning rate 0, so that only validation has an effect."""
    rate = 0.0
    settings: dict[str, Any] = {
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=rate),
        "scheduler": "none",
        "val_fraction": 0.6,
    }
    return outcome(fit(toy_model(), epochs=1, **settings))


def differences(_: Path) -> Any:
    rank = World.from_env().rank
    images = toy_images()
    labels = images.targets.copy()
    labels[0] = (labels[0] + rank) % 3
    found = []
    attempts: list[tuple[SimilarityModel, ImageTensors, int]] = [
        (toy_model(), ImageTensors(images.images, labels), 2),
        (toy_model(), images, 2 + rank),
        (toy_model(nn.Conv2d(4, 4, 1)) if rank else toy_model(), images, 2),
    ]
    for model, train, epochs in attempts:
        try:
            fit(model, train, epochs=epochs)
        except ValueError as error:
            found.append((type(error).__name__, str(error)))
    return found


class Watching(Callback):
    def __init__(self, *, stop: bool = False, poison: bool = False) -> None:
        self.calls, self.stop, self.poison = 0, stop, poison

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        self.calls += 1
        if self.poison:
            with torch.no_grad():
                trainer.model.projection.weight.fill_(float("nan"))

    def on_epoch_end(self, trainer: Trainer, record: Any) -> None:
        if self.stop:
            trainer.stop()


def callbacks(_: Path) -> Any:
    watching = Watching(stop=True)
    trainer = fit(toy_model(), callbacks=(watching,))
    try:
        fit(toy_model(), callbacks=(Watching(poison=True),))
        message = ""
    except TrainingError as error:
        message = str(error)
    return {"calls": watching.calls, "epochs": len(trainer.history), "message": message, "is_main": trainer.is_main}


class Failing:
    """An objective that fails at a certain call, in every process."""

    def __init__(self, call: int) -> None:
        self.calls_left = call

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        self.calls_left -= 1
        if self.calls_left == 0:
            raise CutOffError
        return squares(embeddings, labels)


def resumed_runs(folder: Path) -> Any:
    """A complete run, an interrupted and resumed one, and one that ends after an epoch for others to resume."""
    size = World.from_env().size
    settings: dict[str, Any] = {"checkpoint_steps": 3, "ema_decay": 0.9}
    complete, interrupted = folder / f"complete-{size}", folder / f"interrupted-{size}"
    fit(with_batch_norm(), out=complete, objective=Failing(0), **settings)
    try:
        fit(with_batch_norm(), out=interrupted, objective=Failing(12), **settings)
    except CutOffError:
        fit(with_batch_norm(), out=interrupted, objective=Failing(0), **settings)
    config = TrainConfig(out=folder / f"left-{size}", epochs=3, batch_size=8, precision="fp32")
    records = Trainer(toy_model(), config, train=toy_images()).epochs()
    next(records)
    records.close()  # type: ignore[attr-defined]
    return None


def resumed_from_one(folder: Path) -> Any:
    """Resume a run of one process; only rank 0 has its folder."""
    world = World.from_env()
    copy = folder / f"from-1-on-{world.size}"
    if world.is_main:
        subprocess.run(["cp", "-r", folder / "left-1", copy], check=True)
    return outcome(fit(toy_model(), out=copy if world.is_main else None))


def folder_in_use(folder: Path) -> Any:
    """A run in a folder that another process has locked, which only rank 0 sees."""
    world = World.from_env()
    run = folder / f"used-{world.size}"
    with held(run) if world.is_main else contextlib.nullcontext(), pytest.raises(RunError) as raised:
        fit(toy_model(), out=run)
    return str(raised.value)


class Drawing(Dataset[Any]):
    """Returns a random image each time."""

    def __init__(self) -> None:
        self.targets = [0, 1] * 20

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return torch.rand(1, 8, 8), self.targets[index]


def randomness(_: Path) -> Any:
    """Random numbers of dropout, of the objective and of a dataset, for equal images."""
    seen: list[Tensor] = []

    def watch(embeddings: Tensor, labels: Tensor) -> Tensor:
        seen.append(torch.cat((embeddings.detach(), torch.rand(len(embeddings), 1)), dim=1))
        return squares(embeddings, labels)

    images = ImageTensors(torch.ones(24, 1, 8, 8), [0, 1] * 12)
    fit(toy_model(nn.Dropout(0.5)), images, objective=watch, epochs=1, batch_size=24)
    fit(toy_model(), Drawing(), objective=watch, epochs=1, batch_size=40, num_workers=0)
    return seen


JOBS: list[Job] = [
    gradients,
    complete_runs,
    batch_norm_run,
    buffers,
    validation_of_untrained,
    differences,
    callbacks,
    resumed_runs,
    resumed_from_one,
    folder_in_use,
    randomness,
]


# --- running them ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    return {job.__name__: job(folder) for job in JOBS}


@pytest.fixture(scope="module", params=[pytest.param(size, marks=pytest.mark.slow) for size in (2, 3)])
def ranks(request: pytest.FixtureRequest, folder: Path, alone: dict[str, Any]) -> list[dict[str, Any]]:
    return run_together(request.param, folder, JOBS)


# --- results ---


@pytest.mark.parametrize("name", STEPS)
def test_updates_are_those_of_one_process(name: str, alone: dict[str, Any], ranks: list[dict[str, Any]]) -> None:
    losses, weights = alone["gradients"][name]
    # the projection of pairs is computed in float32, whatever the net
    limit = 1e-6 if name == "pairs" else 1e-10
    for found in ranks:
        torch.testing.assert_close(found["gradients"][name][0], losses, rtol=limit, atol=limit)
        for key, value in found["gradients"][name][1].items():
            torch.testing.assert_close(value, weights[key], rtol=limit, atol=limit, msg=f"{name} {key}")


@pytest.mark.parametrize("name", RUNS)
def test_runs_are_those_of_one_process(name: str, alone: dict[str, Any], ranks: list[dict[str, Any]]) -> None:
    whole = alone["complete_runs"][name]
    for found in ranks:
        run = found["complete_runs"][name]
        assert_same({**run, "notes": None}, {**ranks[0]["complete_runs"][name], "notes": None})
        assert len(run["records"]) == len(whole["records"])
        for one, other in zip(run["records"], whole["records"], strict=True):
            assert one == pytest.approx(other, rel=2e-3)
        for key, value in run["state"].items():
            torch.testing.assert_close(value, whole["state"][key], rtol=1e-2, atol=1e-3)
        assert f"{len(ranks)} processes train together, each on its part of every batch." in run["notes"]


def test_batch_norm_is_the_same_in_all_processes_and_as_saved(folder: Path, ranks: list[dict[str, Any]]) -> None:
    runs = [found["batch_norm_run"] for found in ranks]
    for run in runs:
        assert_same({**run, "notes": None}, {**runs[0], "notes": None})
        assert any("Batch norm takes its statistics of each part" in line for line in run["notes"])
    saved = torch.load(folder / f"bn-{len(ranks)}" / "best_model.pt", weights_only=True)
    state = dict(runs[0]["state"])
    assert_same({**saved, "_extra_state": state["_extra_state"]}, state)  # in the file with a SHA-256
    loaded = SimilarityModel.from_pretrained(folder / f"bn-{len(ranks)}", embedding_net=with_batch_norm().embedding_net)
    assert_same(dict(loaded.state_dict()), dict(runs[0]["state"]))


def test_validation_loss_is_that_of_the_saved_model(folder: Path, ranks: list[dict[str, Any]]) -> None:
    images = bright_images()
    _, held = stratified_split(ClassIndex.from_labels(images.targets), 0.5, seed=0)
    loaded = SimilarityModel.from_pretrained(folder / f"bn-{len(ranks)}", embedding_net=with_batch_norm().embedding_net)
    with torch.no_grad():
        embeddings = loaded.embed(images.images[held]).double()
    first, second = np.triu_indices(len(held), k=1)
    similarity = (embeddings[first] * embeddings[second]).sum(dim=1)
    same = torch.from_numpy(images.targets[held][first] == images.targets[held][second])
    losses = functional.softplus(loaded.logits(similarity).double() * torch.where(same, -1, 1))
    best = min(record["val_loss"] for record in ranks[0]["batch_norm_run"]["records"])
    # no positive pair is wrong, so that the projection is kept as it was trained
    assert best == pytest.approx(((losses[same].mean() + losses[~same].mean()) / 2).item(), rel=1e-5)


def test_buffers_are_averaged_or_those_of_rank_0(ranks: list[dict[str, Any]]) -> None:
    mean = (len(ranks) - 1) / 2
    for found in ranks:
        assert found["buffers"]["0.running_mean"].tolist() == pytest.approx([mean, mean])
        assert found["buffers"]["0.running_var"].tolist() == pytest.approx([mean + 1, mean + 1])
        assert found["buffers"]["1.running_mean"].tolist() == [2, 2]  # as it is skipped
        assert found["buffers"]["own"].tolist() == [0, 7]


def test_validation_results_do_not_depend_on_the_number_of_processes(
    alone: dict[str, Any], ranks: list[dict[str, Any]]
) -> None:
    one = alone["validation_of_untrained"]
    for found in ranks:
        several = found["validation_of_untrained"]
        assert several["records"][0]["val_loss"] == one["records"][0]["val_loss"]
        assert several["point"] == one["point"]
        assert_same(several["state"], one["state"])


def test_differences_between_processes_raise_in_all(ranks: list[dict[str, Any]]) -> None:
    others = ", ".join(str(rank) for rank in range(1, len(ranks)))
    for found in ranks:
        for (kind, message), (expected, what) in zip(
            found["differences"],
            [("DataError", "images and labels"), ("ValueError", "settings"), ("ValueError", "net")],
            strict=True,
        ):
            assert kind == expected
            assert message.startswith(
                f"Expected the same {what} in all {len(ranks)} processes, found others in rank {others} than in rank 0."
            )


def test_only_rank_0_calls_callbacks_and_it_stops_all(ranks: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(ranks):
        assert (found["callbacks"]["calls"] > 0) == (rank == 0) == found["callbacks"]["is_main"]
        assert found["callbacks"]["epochs"] == 1


def test_a_loss_that_is_not_finite_raises_in_all_at_the_same_step(ranks: list[dict[str, Any]]) -> None:
    messages = {found["callbacks"]["message"] for found in ranks}
    assert len(messages) == 1
    assert messages.pop().startswith("Expected a finite loss, found NaN or infinity by batch")


def test_resumed_run_equals_uninterrupted(folder: Path, ranks: list[dict[str, Any]]) -> None:
    complete, interrupted = folder / f"complete-{len(ranks)}", folder / f"interrupted-{len(ranks)}"
    assert_same(last_state(complete), last_state(interrupted))
    assert (complete / "log.jsonl").read_bytes() == (interrupted / "log.jsonl").read_bytes()
    assert (complete / "model" / "model.safetensors").read_bytes() == (
        interrupted / "model" / "model.safetensors"
    ).read_bytes()


def test_a_run_can_be_resumed_with_another_number_of_processes(
    folder: Path, alone: dict[str, Any], ranks: list[dict[str, Any]]
) -> None:
    whole = outcome(fit(toy_model()))
    resumed = outcome(fit(toy_model(), out=folder / f"left-{len(ranks)}"))
    for run in (resumed, *(found["resumed_from_one"] for found in ranks)):
        assert len(run["records"]) == 3
        for one, other in zip(run["records"], whole["records"], strict=True):
            assert one == pytest.approx(other, rel=2e-3)
        assert any("Resumed in epoch 2" in line for line in run["notes"])
        assert any("num_processes" in line for line in run["notes"])


def test_a_folder_in_use_is_named_in_all_processes(ranks: list[dict[str, Any]]) -> None:
    assert len({found["folder_in_use"] for found in ranks}) == 1
    assert "but process 123 on far, since" in ranks[0]["folder_in_use"]


def test_each_part_draws_its_own_numbers_and_objectives_draw_the_same(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        assert_same(found["randomness"], ranks[0]["randomness"])  # as all have the embeddings of all
    for seen in ranks[0]["randomness"]:
        embeddings = seen[:, :-1]
        assert len(embeddings.unique(dim=0)) > len(embeddings) * 0.8
        first, second = (
            embeddings[World(rank=0, size=len(ranks)).shard(len(seen))],
            embeddings[World(rank=1, size=len(ranks)).shard(len(seen))],
        )
        assert not torch.isclose(first[: len(second)], second[: len(first)]).all(dim=1).any()


@pytest.mark.slow
def test_torchrun_starts_the_command(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = ["-m", "pairsim", "train", "digits", "--out", str(tmp_path / "run"), "--epochs", "1", "--no-report"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, *command], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1
    assert done.stderr.count("epoch 1/1  train loss") == 1
