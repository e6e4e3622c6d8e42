"""The benchmarks' own arithmetic, and the faithfulness of the recipe that they compare with. No test asserts a time."""

from __future__ import annotations

import datetime
import json
import os
import platform
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor

import pairsim
from benchmarks import __main__ as command
from benchmarks import import_time, index, notebook_recipe, reference, sampling
from benchmarks.judge import judge
from benchmarks.options import OptionError, Options, mnist_root
from benchmarks.registry import BENCHMARKS
from benchmarks.report import Table, describe, environment_lines, means, to_json, to_markdown, write_json
from benchmarks.timing import Spread, Timing, alternate, interleave, speedup, timing_rows
from pairsim.data import ClassIndex


class FakeClock:
    """A clock that goes on only when a run says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def arm(self, seconds: Iterator[float]) -> Any:
        def run() -> None:
            self.now += next(seconds)

        return run


def test_interleave_takes_turns_and_drops_the_warm_up() -> None:
    clock = FakeClock()
    calls: list[str] = []
    rounds: list[int] = []

    def arm(name: str, *seconds: float) -> Any:
        advance = clock.arm(iter(seconds))

        def run() -> None:
            calls.append(name)
            advance()

        return run

    timings = interleave(
        {"a": arm("a", 100, 2, 4, 6), "b": arm("b", 100, 1, 1, 2)},
        rounds=3,
        clock=clock,
        synchronize=lambda: calls.append("wait"),
        after_round=rounds.append,
    )
    assert calls == ["wait", "a", "wait", "wait", "b", "wait"] * 4
    assert [timing.seconds for timing in timings] == [(2, 4, 6), (1, 1, 2)]
    assert timings[0].spread == Spread(median=4, low=2, high=6)
    assert rounds == [1, 2, 3, 4]


def test_interleave_times_what_the_device_still_does_after_the_call() -> None:
    clock = FakeClock()
    pending = iter([0.0, 5.0, 0.0, 5.0])

    def wait() -> None:
        clock.now += next(pending)

    (timing,) = interleave({"a": lambda: None}, rounds=1, warmup=1, clock=clock, synchronize=wait)
    assert timing.seconds == (5.0,)


def test_speedup_compares_neighbours_and_units_of_work() -> None:
    slow, fast = Timing("slow", (10.0, 40.0, 30.0)), Timing("fast", (5.0, 10.0, 10.0))
    assert speedup(slow, fast) == Spread(median=3.0, low=2.0, high=4.0)
    assert speedup(slow, Timing("twice the work", (5.0, 10.0, 10.0), work=2.0)).median == 6.0
    assert speedup(slow, slow) == Spread(1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="as many runs of both"):
        speedup(slow, Timing("short", (1.0,)))


def test_timing_rows_give_rate_and_ratio() -> None:
    rows = timing_rows([Timing("a", (4.0, 8.0), 8.0), Timing("b", (2.0, 2.0), 16.0)], unit="pairs")
    assert rows[1] == {
        "arm": "b",
        "seconds": 2.0,
        "seconds_low": 2.0,
        "seconds_high": 2.0,
        "runs": 2,
        "pairs": 16.0,
        "pairs_per_s": 8.0,
        "ratio": 6.0,
        "ratio_low": 4.0,
        "ratio_high": 8.0,
    }


def test_alternate_needs_a_round() -> None:
    with pytest.raises(ValueError, match="at least 1 round"):
        alternate({"a": lambda: 1}, rounds=0)


def test_report_says_what_results_depend_on_and_names_no_place(tmp_path: Path) -> None:
    options = Options(seed=7, data_dir=tmp_path)
    table = Table("A title", [{"arm": "a", "seconds": 1.5}], ["a note"])
    write_json(tmp_path / "new" / "r.json", describe(options), {"sampling": [table]})
    text = (tmp_path / "new" / "r.json").read_text()
    found = json.loads(text)
    assert datetime.datetime.fromisoformat(found["date"]).tzinfo is not None
    assert found["seeds"] == {"seed": 7}
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["versions"]["pairsim"] == pairsim.__version__
    assert {"cpu", "cores", "cpu_flags", "gpu"} <= set(found["hardware"])
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert found["options"]["quick"] is False
    assert found["benchmarks"]["sampling"] == [table.to_dict()]
    assert {"revision", "busy_cores_before"} <= set(found)
    assert "do not quote" in environment_lines({**found, "busy_cores_before": 1.5})
    for place in (str(tmp_path), str(Path.home()), os.getcwd()):
        assert place not in text
    assert len(platform.node()) < 4 or platform.node() not in text
    assert "seed 7" in environment_lines(found)


def test_means_are_of_each_arm_over_seeds_or_splits() -> None:
    rows = [{"arm": "a", "seed": 0, "eer": 0.1}, {"arm": "a", "seed": 1, "eer": 0.3}, {"arm": "b", "seed": 0, "eer": 1}]
    first, second = means(rows, ("eer",))
    assert first == {"arm": "a", "seeds": 2, "eer": pytest.approx(0.2), "eer_low": 0.1, "eer_high": 0.3}
    assert (second["seeds"], second["eer"]) == (1, 1)
    timed = [{"arm": "a", "split": number, "eer": 0.5, "seconds": seconds} for number, seconds in enumerate((1.0, 4.0))]
    (found,) = means(timed, ("eer",))
    assert (found["splits"], found["seconds"]) == (2, 2.5)


def test_report_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({}, {"x": [Table("t", [{"seconds": float("nan")}])]})


def test_markdown_has_every_column_and_note() -> None:
    table = Table("Title", [{"arm": "a", "pairs": 20_000_000}, {"arm": "b", "ratio": 1.23456}], ["Said."])
    assert to_markdown(table).splitlines() == [
        "### Title",
        "",
        "| arm | pairs | ratio |",
        "|---|---:|---:|",
        "| a | 20,000,000 |  |",
        "| b |  | 1.235 |",
        "",
        "- Said.",
    ]


def test_every_benchmark_can_be_asked_for() -> None:
    names, path, options = command.parse(["sampling", "import", "--quick", "--json", "r.json", "--seed", "3"])
    assert (names, path, options) == (["sampling", "import"], Path("r.json"), Options(quick=True, seed=3))
    assert command.parse([])[0] == list(BENCHMARKS)
    with pytest.raises(SystemExit) as stopped:
        command.parse(["nonsense"])
    assert stopped.value.code == 2


def test_mnist_root_looks_one_folder_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRSIM_DATA", raising=False)
    with pytest.raises(OptionError, match="PAIRSIM_DATA"):
        mnist_root(None)
    assert mnist_root(tmp_path) == tmp_path
    (tmp_path / "mnist" / "MNIST" / "raw").mkdir(parents=True)
    monkeypatch.setenv("PAIRSIM_DATA", str(tmp_path))
    assert mnist_root(None) == tmp_path / "mnist"


def test_recipe_draws_pairs_as_the_notebook_does() -> None:
    sizes = {3: 4, 5: 8, 8: 12}
    labels = [name for name, size in sizes.items() for _ in range(size)]
    dataset = [(torch.tensor(number), label) for number, label in enumerate(labels)]
    random.seed(0)
    pairs = notebook_recipe.PairDataset(dataset, num_pairs=12_000)
    assert {name: len(images) for name, images in pairs.images_of.items()} == sizes
    drawn = [pairs[0] for _ in range(len(pairs))]
    first, second, target = (np.array([float(item[part]) for item in drawn]).astype(int) for part in range(3))
    assert drawn[0][2].dtype == torch.float32
    code = np.array(labels)
    assert (target == (code[first] == code[second])).all()
    assert abs(target.mean() - 0.5) < 0.02
    # the first image is uniform over images
    assert np.abs(np.bincount(first, minlength=24) / 12_000 - 1 / 24).max() < 0.008
    # a positive may be an image with itself: once in its class's size
    small = (target == 1) & (code[first] == 3)
    assert abs((first == second)[small].mean() - 1 / 4) < 0.05
    # a negative's class is uniform among the others, whatever their sizes
    negative = (target == 0) & (code[first] == 8)
    assert abs((code[second] == 3)[negative].mean() - 0.5) < 0.04


def test_recipe_weights_are_pairsim_weights() -> None:
    torch.manual_seed(0)
    theirs = notebook_recipe.SimilarityModel(notebook_recipe.EmbeddingNet())
    ours = pairsim.SimilarityModel()
    assert list(theirs.state_dict()) == list(ours.weights())
    theirs(torch.rand(8, 1, 28, 28), torch.rand(8, 1, 28, 28))  # moves batch norm's statistics
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.eval()
    ours.eval()
    first, second = torch.rand(16, 1, 28, 28), torch.rand(16, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(
            theirs.get_raw_similarity(first, second), ours.get_raw_similarity(first, second), rtol=0, atol=1e-6
        )
        assert torch.allclose(theirs(first, second), ours(first, second), rtol=0, atol=1e-5)


def test_recipe_trains_and_keeps_weights_that_pairsim_reads(tiny_mnist: Path, tmp_path: Path) -> None:
    def train() -> tuple[list[notebook_recipe.NotebookEpoch], dict[str, Tensor]]:
        out = tmp_path / "best_model.pt"
        run = notebook_recipe.NotebookRun(tiny_mnist, 5, out=out, workers=0, num_pairs=32, num_test_pairs=16)
        assert run.index_s > 0
        assert -1 <= run.first_slope <= 1
        return [run.epoch() for _ in range(2)], torch.load(out, weights_only=True)

    epochs, weights = train()
    assert epochs[0].saved
    assert all(np.isfinite([epoch.train_loss, epoch.test_loss]).all() for epoch in epochs)
    pairsim.SimilarityModel().load_state_dict(weights, strict=True)
    assert train()[0] == epochs


def test_judge_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 90)
    centres = rng.normal(size=(4, 6))
    vectors = torch.from_numpy(centres[labels] + 1.2 * rng.normal(size=(90, 6))).float()
    embeddings = torch.nn.functional.normalize(vectors)
    embeddings[1] = embeddings[0]  # ties
    found = judge(embeddings, torch.from_numpy(labels), weight=8.0, bias=-3.0)
    upper = np.triu_indices(90, k=1)
    scores = (embeddings @ embeddings.T).numpy()[upper]
    targets = (labels[:, None] == labels[None])[upper]
    assert found.num_positive == targets.sum()
    assert found.num_positive + found.num_negative == 90 * 89 // 2
    assert found.auc == pytest.approx(metrics.roc_auc_score(targets, scores), abs=1e-12)
    assert found.balanced_accuracy == pytest.approx(
        metrics.balanced_accuracy_score(targets, 8.0 * scores - 3.0 > 0), abs=1e-12
    )
    fmr, tpr, _ = metrics.roc_curve(targets, scores, drop_intermediate=False)
    near = np.argmin(np.abs(fmr - (1 - tpr)))
    assert found.eer == pytest.approx((fmr[near] + 1 - tpr[near]) / 2, abs=1 / targets.sum())
    assert set(found.row()) == {"balanced_accuracy", "eer", "auc", "num_positive", "num_negative"}


def test_judge_of_a_perfect_model() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    found = judge(torch.eye(2)[labels], labels, weight=10.0, bias=-5.0)
    assert (found.balanced_accuracy, found.eer, found.auc) == (1.0, 0.0, 1.0)


def test_numpy_limit_draws_valid_pairs() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 200)
    rng = np.random.default_rng(0)
    first, second, target = sampling.numpy_pairs(rng, ClassIndex.from_labels(labels), 5_000)
    assert (first != second).all()
    assert (target == (labels[first] == labels[second])).all()
    assert abs(target.mean() - 0.5) < 0.04


def test_sampling_compares_three_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_SETS", {"few": (200, 10)})
    epoch, table = sampling.run(Options(num_pairs=2_000, rounds=1))
    assert [row["pairs"] for row in table.rows] == [20, 2_000, 2_000]
    assert table.rows[0]["ratio"] == 1.0
    assert [row["pairs"] for row in epoch.rows] == [20_000] * 4


def test_notebook_arrays_hold_the_pairs_that_were_drawn() -> None:
    labels = [0, 1, 1, 2] * 25
    images_of = {name: [i for i, label in enumerate(labels) if label == name] for name in (0, 1, 2)}
    random.seed(0)
    given = sampling.notebook_arrays(images_of, labels, 500)
    random.seed(0)
    looked_up = sampling.notebook_items(images_of, torch.tensor(labels), 500)
    first, second, target = given
    assert len(first) == len(second) == len(target) == 500
    code = np.array(labels)
    assert (target == (code[first] == code[second])).all()
    assert all(np.array_equal(one, other) for one, other in zip(given, looked_up, strict=True))


@pytest.mark.slow
def test_import_and_index_measure_in_fresh_processes(monkeypatch: pytest.MonkeyPatch, tiny_mnist: Path) -> None:
    (table,) = import_time.run(Options(rounds=1))
    assert [row["arm"] for row in table.rows] == ["import torch", "import pairsim, after torch"]
    monkeypatch.setattr(index, "_labels", lambda rng, share: {"few": np.arange(1_000) % 7})
    large, mnist = index.run(Options(rounds=1, data_dir=tiny_mnist))
    assert large.rows[0]["classes"] == 7
    assert large.rows[0]["labels_MB"] == 0.008
    assert [row["images"] for row in mnist.rows] == [120, 120]


@pytest.mark.slow
def test_reference_compares_recipes(tiny_mnist: Path) -> None:
    tables = reference.run(Options(epochs=3, rounds=1, num_pairs=64, workers=0, data_dir=tiny_mnist))
    assert [len(table.rows) for table in tables] == [3, 3, 2, 2, 2]
    assert {row["num_positive"] + row["num_negative"] for row in tables[-1].rows} == {40 * 39 // 2}
    with pytest.raises(OptionError, match="at least 2 epochs"):
        reference.run(Options(epochs=1, data_dir=tiny_mnist))
