"""Arms that do the same work, and the arithmetic on what they give. No test asserts a time."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn

import pairsim
from benchmarks import (
    epoch,
    evaluation,
    inference,
    loading,
    loss_memory,
    losses,
    metric_learning,
    mnist,
    mnist_quality,
    optional,
    roofline,
    throughput,
    time_to_quality,
)
from benchmarks.notebook_recipe import MEAN, STD
from benchmarks.options import Options
from benchmarks.recipes import PairsimArm, ResidentBatches, net_input
from benchmarks.registry import BENCHMARKS
from benchmarks.report import to_markdown
from benchmarks.steps import make_step
from benchmarks.timing import Spread
from pairsim.data import ClassIndex, load_data
from pairsim.evaluation import PairScores, all_pair_scores


@pytest.fixture
def options(tiny_mnist: Path) -> Options:
    return Options(quick=True, data_dir=tiny_mnist, workers=0, num_pairs=32, rounds=1)


def random_embeddings(num: int, num_classes: int = 4, dim: int = 8) -> tuple[Tensor, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, num)
    vectors = rng.normal(size=(num_classes, dim))[labels] + rng.normal(size=(num, dim))
    return torch.nn.functional.normalize(torch.from_numpy(vectors).float()), labels


# data


def test_quick_has_some_images_of_each_class(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(mnist.load(options, "train").dataset) == 120  # there are no more
    monkeypatch.setitem(mnist.QUICK_IMAGES, "train", 50)
    some, again = (mnist.load(options, "train").dataset for _ in range(2))
    assert np.bincount(some.targets).tolist() == [5] * 10
    assert torch.equal(some.images, again.images)
    whole = Options(data_dir=options.data_dir)
    assert len(mnist.load(whole, "train").dataset) == 120


def test_the_split_is_the_trainers(options: Options) -> None:
    train = mnist.load(options, "train").dataset
    kept, held = mnist.split_as_trainer(train, 3)
    trainer = pairsim.Trainer(pairsim.SimilarityModel(), pairsim.TrainConfig(seed=3, device="cpu"), train=train)
    assert trainer.data.validation is not None
    seen = torch.cat([images for images, _ in trainer.data.validation.loader.epoch(0)])
    assert torch.equal(seen, train.images[torch.from_numpy(held)])
    assert sorted([*kept, *held]) == list(range(120))


# loading


def test_every_loader_hands_out_all_pairs(options: Options) -> None:
    (table,) = loading.run(options)
    assert [row["pairs"] for row in table.rows] == [32] * 4
    with pytest.raises(AssertionError, match="pairs and pixels"):
        loading.check((63, 63 * 2 * 784), 64)
    with pytest.raises(AssertionError, match="pairs and pixels"):
        loading.check((64, 64 * 784), 64)


def test_plain_pairs_are_pairs_and_new_in_each_epoch(options: Options) -> None:
    train = mnist.load(options, "train").dataset
    dataset = loading.PlainPairs(train.images, ClassIndex.from_labels(train.targets), 40, seed=0)
    first, second, target = dataset[7]
    number, other, same = dataset._pairs[:, 7].tolist()
    assert torch.equal(first, train.images[number])
    assert torch.equal(second, train.images[other])
    assert target == same == (train.targets[number] == train.targets[other])
    before = dataset._pairs.clone()
    dataset.draw()
    assert not torch.equal(before, dataset._pairs)


def test_loaders_normalise_alike(options: Options) -> None:
    train = mnist.load(options, "train").dataset
    preprocessing = pairsim.images.Preprocessing(image_size=(28, 28), channels=1, mean=(MEAN,), std=(STD,))
    assert torch.allclose(loading.normalised(train.images[:5]), preprocessing(train.images[:5]), atol=1e-6)
    assert torch.allclose(metric_learning.normalised(train.images[:5]), preprocessing(train.images[:5]), atol=1e-6)


# epoch


def test_waiting_is_the_share_beyond_the_steps() -> None:
    assert epoch.waiting_share([10.0, 8.0, 4.0], [9.0, 8.0, 3.0]) == Spread(0.1, 0.0, 0.25)
    assert epoch.waiting_share([10.0], [11.0]).median == pytest.approx(-0.1)


def test_counted_waiting_is_of_the_training_part() -> None:
    history = SimpleNamespace(waiting=[0.9, 0.1, 0.2], seconds=[10.0, 10.0, 10.0])
    arm = SimpleNamespace(trainer=SimpleNamespace(history=history), training_s=[9.0, 5.0, 8.0])
    assert epoch.counted_waiting(cast("PairsimArm", arm)) == Spread(0.225, 0.2, 0.25)


def test_resident_batches_are_what_the_net_receives(options: Options, tmp_path: Path) -> None:
    assert options.data_dir is not None
    few = dataclasses.replace(options, num_pairs=300)
    arm = PairsimArm(tmp_path, few, "fp32", 1)
    own, resident = arm.trainer.data.loader, ResidentBatches(arm.trainer)
    sizes = [(len(images), len(extra)) for images, extra in own.epoch(0)]
    assert sizes == [(512, 256), (88, 44)] == [(len(images), len(extra)) for images, extra in resident.epoch(0)]
    images, targets = next(resident.epoch(5))
    expected, expected_targets = net_input(arm.trainer, next(iter(own.epoch(0))))
    assert torch.equal(images, expected)
    assert torch.equal(targets, expected_targets)
    assert images.is_floating_point()
    assert images.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        pixels = next(iter(own.epoch(0)))[0]
        assert torch.equal(arm.trainer.model.eval().embed(images), arm.trainer.model.embed(pixels))


@pytest.mark.slow
def test_epoch_compares_the_arms_of_reference_and_the_steps_alone(options: Options) -> None:
    whole, alone, waiting = epoch.run(options)
    assert [str(row["arm"]).partition(" (")[0] for row in alone.rows] == [
        epoch.NOTEBOOK,
        epoch.FP32,
        epoch.AUTO,
        epoch.LIMIT,
    ]
    assert len(whole.rows) == 3
    assert set(waiting.rows[0]) >= {"share", "counted_by_trainer"}


# quality and time to it


def test_recipes_of_many_forwards_see_as_many_as_the_notebook() -> None:
    affine = mnist_quality.RECIPES[-1]
    assert affine.row() == {"objective": "all-pairs", "epochs": 22, "augment": "affine"}
    assert mnist_quality._sees_as_many({"image_forwards": 54_000 * affine.epochs})
    assert mnist_quality._sees_as_many({"image_forwards": 2 * 20_000 * 30})
    assert not mnist_quality._sees_as_many({"image_forwards": 54_000 * 2})


def test_quality_is_summed_up_by_recipe() -> None:
    def row(epochs: int, seed: int, accuracy: float, **more: Any) -> dict[str, Any]:
        fixed = {"objective": "all-pairs", "epochs": epochs, "seed": seed, "image_forwards": 54_000 * epochs}
        return fixed | {"balanced_accuracy": accuracy, "eer": 0.01} | more

    rows = [row(2, 0, 0.8), row(2, 1, 0.9), row(2, 0, 0.99, augment="affine")]
    affine, plain = mnist_quality.summary(rows)
    assert (affine["augment"], affine["mean_balanced_accuracy"]) == ("affine", 0.99)
    assert (plain["seeds"], plain["lowest"], plain["highest"]) == (2, 0.8, 0.9)
    assert plain["mean_balanced_accuracy"] == pytest.approx(0.85)


def test_points_are_to_all_pairs_with_the_same_seed() -> None:
    def row(arm: str, seed: int, accuracy: float) -> dict[str, Any]:
        return {"arm": arm, "seed": seed, "balanced_accuracy": accuracy, "eer": 0.1, "seconds": 1.0}

    rows = [row("all-pairs", 0, 0.90), row("all-pairs", 1, 0.80), row("SupCon", 0, 0.92), row("SupCon", 1, 0.81)]
    best, own = losses.summary(rows)
    assert (best["arm"], best["lowest"], best["highest"]) == ("SupCon", 0.81, 0.92)
    assert best["points"] == pytest.approx(1.5)
    assert own["points"] == 0


def test_time_to_quality_compares_within_a_seed() -> None:
    def end(arm: str, seconds: float, accuracy: float = 0.995) -> time_to_quality.Run:
        return time_to_quality.Run(arm, 0, 1.0, seconds, accuracy, 0.01, "bf16")

    ends = [end(time_to_quality.PAIRSIM, 2.0), end(time_to_quality.OWN, 8.0, 0.9918)]
    ends += [end(time_to_quality.PAIRSIM, 4.0), end(time_to_quality.OWN, 8.0)]
    notebook, own, other = time_to_quality.summary(ends, [100.0, 100.0], 0.9931)
    assert (notebook["pairsim_is_faster"], notebook["faster_low"], notebook["faster_high"]) == (37.5, 25.0, 50.0)
    assert notebook["lowest_balanced_accuracy"] == 0.9931
    assert (own["pairsim_is_faster"], own["reached"]) == (1.0, "2 of 2")
    assert (other["pairsim_is_faster"], other["reached"], other["seconds"]) == (3.0, "1 of 2", 8.0)
    assert [end.row()["reached"] for end in ends] == ["yes", "no", "yes", "yes"]


def test_the_notebook_s_quality_comes_from_reference(tmp_path: Path) -> None:
    assert time_to_quality._notebook_quality(Options(results=tmp_path)) is None
    assert time_to_quality._notebook_quality(Options()) == pytest.approx(0.9947, abs=1e-3)


# pytorch-metric-learning


@pytest.mark.slow
def test_own_trainer_learns_from_the_same_images_and_ends_at_the_goal(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = pytest.importorskip("pytorch_metric_learning.trainers")
    datasets: list[Any] = []
    plain = trainers.MetricLossOnly

    def noting(*arguments: Any, **settings: Any) -> Any:
        datasets.append(arguments[4])
        return plain(*arguments, **settings)

    monkeypatch.setattr(trainers, "MetricLossOnly", noting)
    monkeypatch.setattr(mnist, "VAL_FRACTION", 0.2)  # two images of each class, so that there are positive pairs
    settings: dict[str, Any] = {"passes": 2.0, "every": 1.0}
    state = torch.random.get_rng_state()
    points = metric_learning.train_own(options, 0, goal=1.1, **settings)
    tuned = metric_learning.train_own(options, 0, goal=1.1, tuned=True, **settings)
    again = metric_learning.train_own(options, 0, goal=1.1, **settings)
    assert torch.equal(torch.random.get_rng_state(), state)
    # 4 images of 10 classes at a time: 80 of the 100 images make up a batch
    assert [point.passes for point in points] == [point.passes for point in tuned] == [0.8, 1.6]
    assert [point.quality for point in again] == [point.quality for point in points]
    assert points[0].quality != points[1].quality
    assert 0 < points[0].seconds < points[1].seconds
    assert points[0].quality.num_positive + points[0].quality.num_negative == 40 * 39 // 2
    first, second = (sorted((float(image.sum()), int(label)) for image, label in data) for data in datasets[:2])
    assert len(first) == 100
    assert np.allclose(first, second, rtol=1e-4)
    reached = metric_learning.train_own(options, 0, goal=0.0, **settings)
    assert [point.passes for point in reached] == [0.8]


def test_its_workers_end_with_its_training(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pytorch_metric_learning")
    monkeypatch.setattr(mnist, "VAL_FRACTION", 0.2)
    before = set(multiprocessing.active_children())
    metric_learning.train_own(dataclasses.replace(options, workers=2), 0, passes=0.8, every=0.8, goal=1.1)
    assert set(multiprocessing.active_children()) == before


def test_its_losses_train_in_pairsims_loop(options: Options) -> None:
    pytest.importorskip("pytorch_metric_learning")
    makers = metric_learning.losses()
    assert len(makers) == 5
    embeddings, labels = random_embeddings(40)
    for name, make in makers.items():
        value = make()(embeddings, torch.from_numpy(labels))
        assert value.ndim == 0, name
        assert value > 0, name
    found = mnist.fit(options, seed=0, epochs=1, objective=makers["SupCon"]())
    assert 0.4 <= found.quality.balanced_accuracy <= 1
    assert found.quality.num_positive + found.quality.num_negative == 40 * 39 // 2
    assert found.seconds > 0


def test_best_threshold_is_the_best_of_all() -> None:
    embeddings, labels = random_embeddings(60)
    upper = np.triu_indices(60, k=1)
    scores = (embeddings @ embeddings.T).numpy()[upper]
    targets = (labels[:, None] == labels[None])[upper]

    def accuracy(threshold: float) -> float:
        match = scores > threshold
        return float((match[targets].mean() + (~match[~targets]).mean()) / 2)

    best = max(accuracy(score - 1e-6) for score in scores)
    assert accuracy(metric_learning.best_threshold(embeddings, labels)) == pytest.approx(best, abs=1e-12)


def test_without_the_package_there_is_one_line_and_the_rest_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert optional.optional("no-such-package", "no_such_module") is None
    assert optional.optional("no-such-package", "no_such_module") is None
    assert capsys.readouterr().err.splitlines() == [
        "no-such-package is not installed, so its arms are left out: pip install 'pairsim[bench]'"
    ]
    monkeypatch.setattr(metric_learning, "part", lambda name: None)
    assert metric_learning.losses() == {}
    monkeypatch.setattr(evaluation, "optional", lambda *names: None)
    embeddings, labels = random_embeddings(30)
    model = SimpleNamespace(encode=lambda images, precision: embeddings)
    monkeypatch.setattr(evaluation, "trained_model", lambda options: model)
    monkeypatch.setattr(
        evaluation, "load", lambda *_: SimpleNamespace(dataset=SimpleNamespace(images=None, targets=labels))
    )
    tables = evaluation.run(Options(rounds=1))
    assert [[row["arm"] for row in table.rows] for table in tables] == [["pairsim"], ["pairsim"]]
    assert any("pairsim[bench]" in note for note in tables[0].notes)


# loss memory


def test_the_losses_have_the_same_gradients() -> None:
    model = pairsim.SimilarityModel(pairsim.EmbeddingNet(image_size=4))
    gradients = []
    for arm in loss_memory.ARMS:
        embeddings, labels = loss_memory.batch(600)
        loss_memory.once(arm, model, embeddings, labels)
        gradients.append(embeddings.grad.numpy())
    slope, bias = model.projection.weight.item(), model.projection.bias.item()
    chosen = np.array([0, 7, 599])
    exact = loss_memory.exact_gradient(embeddings.detach().numpy(), labels.numpy(), slope, bias, chosen)
    for gradient in gradients:
        assert loss_memory.relative_difference(gradient[chosen], exact) < 1e-5
    # the oracle itself, against autograd in float64
    doubled = embeddings.detach().double().requires_grad_()
    logits = slope * (doubled @ doubled.T) + bias
    same = labels[:, None] == labels[None]
    pairs = torch.ones(600, 600, dtype=torch.bool).triu(1)
    costs = nn.functional.binary_cross_entropy_with_logits(logits, same.double(), reduction="none")
    ((costs[pairs & same].mean() + costs[pairs & ~same].mean()) / 2).backward()
    assert doubled.grad is not None
    assert loss_memory.relative_difference(exact, doubled.grad[chosen].numpy()) < 1e-12


def test_memory_is_scaled_up_with_the_square() -> None:
    rows: list[dict[str, Any]] = [
        {"images": 1_000, "arm": loss_memory.WHOLE, "peak_added_MB": 10.0},
        {"images": 2_000, "arm": loss_memory.WHOLE, "peak_added_MB": 50.0},
        {"images": 4_000, "arm": loss_memory.WHOLE, "scaled_MB": 200.0},
        {"images": 4_000, "arm": loss_memory.TILES, "peak_added_MB": 5.0},
    ]
    assert loss_memory.expected_bytes(rows, loss_memory.WHOLE, 4_000) == 200e6
    assert loss_memory.expected_bytes(rows, loss_memory.TILES, 8_000) is None
    assert loss_memory.expected_bytes(rows, loss_memory.PLAIN, 8_000) is None
    loss_memory._add_ratios(rows[2:])
    assert [row["ratio"] for row in rows[2:]] == [1.0, 0.025]


@pytest.mark.slow
def test_loss_memory_measures_in_fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_memory, "_QUICK_BATCHES", (512, 1_024))
    monkeypatch.setattr(loss_memory, "_LIMIT_BYTES", 0.0)
    (table,) = loss_memory.run(Options(quick=True, rounds=1))
    assert ["scaled_MB" in row for row in table.rows] == [False, False, False, True, True, False]


# inference and evaluation


def test_the_notebook_s_loop_gives_pairsims_embeddings(options: Options) -> None:
    model = mnist.fit(options, seed=0, epochs=1).model
    pixels = mnist.load(options, "test").dataset.images
    theirs, ours = inference.notebook_loop(model, pixels)(), model.encode(pixels, precision="fp32")
    assert theirs.shape == ours.shape == (40, 128)
    assert inference.largest_difference(theirs, ours) < 1e-5
    assert inference.largest_difference(torch.eye(3), torch.eye(3)[[0, 0, 2]]) == 1.0


def test_both_evaluations_find_the_same() -> None:
    embeddings, labels = random_embeddings(80)
    scores, targets = evaluation.pairs_of(embeddings.numpy(), labels)
    assert len(scores) == len(targets) == 80 * 79 // 2
    auc, eer = evaluation.sklearn_figures(metrics, scores, targets)
    for pairs in (
        all_pair_scores(embeddings.numpy(), labels),
        PairScores.from_scores(scores, targets),
    ):
        found = evaluation.pairsim_figures(pairs)
        assert found[0] == pytest.approx(auc, abs=1e-6)
        assert found[1] == pytest.approx(eer, abs=1 / targets.sum())


# the hardware


def test_operations_and_bytes_are_counted() -> None:
    left, right = torch.randn(3, 4), torch.randn(4, 5)
    total = torch.zeros(8)
    with roofline.OperationCounter() as counter:
        left @ right
        total.add_(1.0)
        total.view(2, 4).t()  # moves nothing
    product, added = counter.operations
    assert (product.flops, product.bytes) == (2 * 3 * 4 * 5, 4 * (12 + 20 + 15))
    assert (added.flops, added.bytes) == (0, 4 * (8 + 8))


def test_the_bound_takes_the_larger_of_both_for_each_operation() -> None:
    operations = [roofline.Operation("a", flops=100, bytes=10), roofline.Operation("b", flops=0, bytes=40)]
    peaks = roofline.Peaks(flops_per_s=50.0, bytes_per_s=20.0)
    assert roofline.bound_s(operations, peaks) == 2.0 + 2.0
    row = roofline.row(10, operations, Spread(8.0, 7.0, 9.0), peaks)
    assert (row["ratio"], row["images_per_s"]) == (0.5, 1.25)


def test_a_step_has_the_operations_of_the_reference_net() -> None:
    step = make_step(16, "fp32", device="cpu")
    before = float(step())
    with roofline.OperationCounter() as counter:
        step()
    first, second, last = 784 * 32 * 25 * 2, 196 * 64 * 32 * 25 * 2, 3136 * 128 * 2
    pairs = 2 * 2 * 16 * 128  # similarities, and their gradient
    flops = sum(part.flops for part in counter.operations) / 16
    assert flops == pytest.approx(2 * first + 3 * (second + last) + pairs, rel=0.01)
    for _ in range(10):
        step()
    assert float(step()) < before


def test_throughput_has_every_batch_size_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "_QUICK_BATCHES", (8, 16))
    (table,) = throughput.run(Options(quick=True, rounds=1))
    assert [(row["batch"], row["arm"]) for row in table.rows] == [
        (batch, f"{precision}, eager") for batch in (8, 16) for precision in ("fp32", "bf16")
    ]


def test_what_needs_a_gpu_says_so_without_one() -> None:
    (table,) = BENCHMARKS["graph"].run(Options())
    assert to_markdown(table).splitlines()[-1] == "- Not measured on cpu: it needs --device cuda."


def test_every_benchmark_says_what_is_fair() -> None:
    import importlib

    for benchmark in BENCHMARKS.values():
        assert len((importlib.import_module(benchmark.module).__doc__ or "").split()) > 40, benchmark.module


def test_load_data_and_the_benchmarks_find_the_same_files(options: Options) -> None:
    ours = load_data("mnist", "test", data_dir=options.data_dir).dataset
    assert torch.equal(ours.images, mnist.load(options, "test").dataset.images)
