"""Targets, comparisons and the tables of README and docs/benchmarks.md, from made-up results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import commands, duplicates, one_picture, targets
from benchmarks.benchmarks_page import benchmarks
from benchmarks.compare import main as compare
from benchmarks.options import Options
from benchmarks.readme import BEGIN, END, highlights, with_measured
from benchmarks.registry import BENCHMARKS
from benchmarks.results import FOLDER, Results
from benchmarks.time_to_quality import NOTEBOOK, OWN, PAIRSIM, TUNED

Row = dict[str, Any]


def report(date: str = "2026-11-25T00:00:00+00:00", **benchmarks: list[tuple[str, list[Row]]]) -> dict[str, Any]:
    return {
        "date": date,
        "revision": "abc",
        "options": {"quick": False, "device": "cpu"},
        "hardware": {"cpu": "A CPU", "cores": 2, "cpu_flags": ["avx2"]},
        "versions": {"torch": "2.15.0"},
        "benchmarks": {
            name.replace("_", "-"): [{"title": title, "rows": rows, "notes": []} for title, rows in tables]
            for name, tables in benchmarks.items()
        },
    }


def write(folder: Path, name: str, content: dict[str, Any]) -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def everything() -> dict[str, Any]:
    def reaching(arm: str, faster: float, mean: float = 0.992) -> Row:
        return {"arm": arm, "pairsim_is_faster": faster, "mean_balanced_accuracy": mean}

    return report(
        index=[("Index of 60,000", [{"arm": "notebook", "ratio": 1.0}, {"arm": "pairsim: x", "ratio": 4_000.0}])],
        sampling=[
            (
                "Pair indices of an epoch: 20,000",
                [
                    {"arm": "notebook's Python code, labels given", "ratio": 2.0},
                    {"arm": "pairsim PairSampler.draw", "ratio": 49.9},
                ],
            )
        ],
        loading=[("Batches to the model: 20,000", [{"arm": "pairsim", "ratio": 100.0}])],
        epoch=[
            ("An epoch of", [{"arm": "pairsim, fp32", "ratio": 9.0}]),
            (
                "Its training part alone",
                [{"arm": "pairsim, fp32", "ratio": 1.3}, {"arm": "pairsim, auto (bf16)", "ratio": 3.6}],
            ),
            ("Waiting for data", [{"arm": "pairsim, auto (bf16)", "share": -0.004}]),
        ],
        time_to_quality=[
            (
                "Seconds of training to 99.19%",
                [
                    {"arm": NOTEBOOK, "pairsim_is_faster": 90.0},
                    reaching(PAIRSIM, 1.0),
                    reaching(OWN, 7.0),
                    reaching(TUNED, 3.0),
                ],
            )
        ],
        losses=[
            (
                "Quality after one pass, mean",
                [
                    {"arm": "SupCon", "points": 0.02},
                    {"arm": "all-pairs", "points": 0.0},
                    {"arm": "Contrastive", "points": -0.7},
                ],
            )
        ],
        quality=[("Quality after 1.2 million image forwards", [{"mean_balanced_accuracy": 0.9972}])],
        loss_memory=[
            (
                "Loss over all pairs",
                [
                    {"images": 8_192, "arm": "pairsim, whole", "ratio": 1.0, "gradient_difference_to_tiles": 3e-6},
                    {"images": 8_192, "arm": "pairsim, in tiles", "ratio": 0.5},
                    {"images": 32_768, "arm": "pairsim, whole", "ratio": 1.0},
                    {"images": 32_768, "arm": "pairsim, in tiles", "ratio": 0.05},
                ],
            )
        ],
        inference=[
            (
                "Embeddings of 10,000",
                [
                    {"arm": "notebook's net", "ratio": 1.0},
                    {"arm": "pairsim encode, fp32", "ratio": 1.8},
                    {"arm": "pairsim encode, bf16", "ratio": 3.2},
                ],
            )
        ],
        evaluation=[
            ("AUC and EER of all 49,995,000", [{"arm": "pairsim", "ratio": 4.0}]),
            ("AUC and EER of 49,995,000 given scores", [{"arm": "pairsim", "ratio": 9.0}]),
        ],
        identify=[
            ("Identification among", [{"arm": "groceries, frozen, whitened", "rank_1": 0.9, "fnir_at_0.1": 0.38}]),
            ("One query among", [{"arm": "pairsim identify_embeddings", "ratio": 0.8}]),
        ],
        serve=[("Encoding 28 x 28 PNG", [{"arm": "64 clients, 16 pictures a request", "ratio": 0.7}])],
        encoding=[
            (
                "2,720 drawings of Omniglot",
                [
                    {"arm": "loop, a batch at a time", "ratio": 1.0},
                    {"arm": "loop, one picture at a time", "ratio": 0.25},
                    {"arm": "pairsim encode", "ratio": 0.99},
                ],
            ),
            ("256 photographs", [{"arm": "pairsim encode", "ratio": 1.8}]),
        ],
        search=[
            (
                f"The 10 nearest of 100,000: {count}, {kind}",
                [{"arm": "pairsim Gallery", "ratio": ratio, "seconds": 0.004, "queries_per_s": 1000.0}],
            )
            for count, kind, ratio in (
                ("1,000 queries", "random", 1.6),
                ("1,000 queries", "100 classes", 0.9),
                ("1 query", "random", 1.1),
                ("1 query", "100 classes", 1.2),
            )
        ],
        gallery_loading=[
            ("Loading 1,000,000", [{"arm": "pairsim Gallery, ids are paths", "seconds": 0.5, "peak_to_size": 1.25}])
        ],
        exporting=[
            (
                "Exported files on all pairs",
                [
                    {"arm": "onnxruntime, fp32", "max_difference": 2e-7, "loss_points": 0.0},
                    {"arm": "onnxruntime, int8", "max_difference": 0.03, "loss_points": -0.01, "times_smaller": 3.9},
                    {"arm": "onnxruntime, fp32", "max_difference": 3e-7, "loss_points": 0.0},
                    {"arm": "onnxruntime, int8", "max_difference": 0.02, "loss_points": 0.3, "times_smaller": 3.9},
                ],
            )
        ],
        one_picture=[
            (
                f"{title}, {net}",
                [{"arm": "bare", "ratio": 1.0}, {"arm": one_picture.ENCODE, "ratio": 0.25}]
                + [{"arm": arm, "ratio": ratio} for arm in (one_picture.ENCODE_ONNX, one_picture.VERIFY)],
            )
            for title in ("One picture", "Two files")
            for net, ratio in zip(one_picture.NETS, (0.9, 0.7, 0.95), strict=True)
        ],
        commands=[
            (
                "Whole processes",
                [
                    {"arm": "import torch, torchvision", "seconds": 3.0, "times": 1.0},
                    {"arm": "import torch", "seconds": 2.0, "times": 0.67},
                    {"arm": "pairsim compare, two files", "seconds": 3.15, "times": 1.05},
                    {"arm": "pairsim --help", "seconds": 0.24, "times": 0.08},
                ],
            ),
            (
                commands.TRAINING,
                [
                    {"arm": commands.TRAIN_FROZEN, "seconds": 21.0},
                    {"arm": commands.HEADS, "seconds": 6.0},
                    {"arm": commands.TRAIN, "seconds": 110.0},
                ],
            ),
        ],
        duplicates=[
            (
                "Edited photographs: 2,000 pictures",
                [
                    {"arm": "imagehash phash", "recall": 0.5, "false_pairs": 1},
                    {"arm": "imagededup CNN", "recall": 0.8, "false_pairs": 1},
                    {"arm": duplicates.PAIRSIM, "recall": 0.96, "false_pairs": 1, "originals_to_go": 2},
                ],
            ),
            (
                "Real copies: 249 pictures",
                [
                    {"arm": "imagehash phash", "recall": 0.3, "false_pairs": 1},
                    {"arm": duplicates.PAIRSIM, "recall": 0.99, "false_pairs": 1, "originals_to_go": 0},
                ],
            ),
            (
                "Recall by edit",
                [
                    {"edit": "grey", duplicates.PAIRSIM: 0.97},
                    {"edit": "cropped 10 %", duplicates.PAIRSIM: 0.95},
                    {"edit": "cropped 20 %", duplicates.PAIRSIM: 0.79},
                ],
            ),
            (
                "Processor and memory",
                [
                    {"arm": f"{duplicates.PAIRSIM}, all cores", "times_phash": 4.0},
                    {"arm": f"{duplicates.PAIRSIM}, 1 core", "times_phash": 2.5},
                ],
            ),
            ("Made pictures of 256 x 256: 100,000", [{"arm": duplicates.PAIRSIM, "decoding": 0.06}]),
        ],
    )


def test_every_target_finds_its_figure(tmp_path: Path) -> None:
    write(tmp_path, "all.json", everything())
    (table,) = targets.run(Options(results=tmp_path))
    found = [(row["measured"], row["met?"]) for row in table.rows]
    assert found == [
        ("4,000x", "yes"),
        ("49.9x (24.9x with its labels in a list)", "no"),
        ("100x", "aim"),
        ("1.3x", "yes"),
        ("3.6x", "aim"),
        ("90x", "yes"),
        ("3x (as documented alone: 7x)", "no"),  # against the faster of both
        ("-0.02 points", "no"),
        ("99.72%", "yes"),
        ("0.0%", "aim"),
        ("1/20", "yes"),
        ("3e-06", "aim"),
        ("3.2x", "aim"),
        ("4x", "no"),
        ("9x", "yes"),
        ("3.96x (beside a loop by batch 0.99x, of photographs 1.80x)", "aim"),
        ("0.9x (random 1.60x, 100 classes 0.90x)", "no"),
        ("1.1x (random 1.10x, 100 classes 1.20x)", "aim"),
        ("90.00%", "yes"),
        ("38.0%", "aim"),
        ("1.25x", "no"),
        ("0.7x", "no"),
        ("0.5 s", "aim"),
        ("1.25x", "no"),
        ("3e-07", "aim"),
        ("0.3 points", "no"),
        ("3.9x", "aim"),
        ("0.7x (reference network 0.90x, MobileNetV3 0.70x, ResNet-18 0.95x)", "yes"),
        ("0.7x (reference network 0.90x, MobileNetV3 0.70x, ResNet-18 0.95x)", "no"),
        ("1.05x", "yes"),
        ("0.24 s", "yes"),
        ("21 s", "yes"),
        ("6 s", "no"),
        ("110 s", "aim"),
        ("96.00% (imagededup CNN: 80.0%)", "aim"),
        ("95.00%", "yes"),
        ("79.00%", "no"),
        ("2", "no"),
        ("0.00% (imagehash phash: 30.0%)", "no"),  # with a false pair
        ("2.5x", "yes"),
        ("6.00%", "no"),
    ]
    assert table.rows[7]["at_least"] == "+0.05 points"
    assert table.rows[9]["at_least"] == "<= 3.0%"
    assert table.rows[10]["aim"] == "<= 1/32"


def test_a_run_that_misses_the_goal_is_no_time_to_it(tmp_path: Path) -> None:
    content = everything()
    content["benchmarks"]["time-to-quality"][0]["rows"][1]["mean_balanced_accuracy"] = 0.9918
    write(tmp_path, "all.json", content)
    rows = targets.rows(Results.read(tmp_path))
    assert [row["met?"] for row in rows if row["what"] == "time to 99.19 %"] == ["no", "no"]


def test_what_is_not_there_is_not_measured(tmp_path: Path) -> None:
    rows = targets.rows(Results.read(tmp_path))
    assert {row["measured"] for row in rows} == {row["met?"] for row in rows} == {"not measured"}
    # half a table is no figure either
    write(tmp_path, "r.json", report(losses=[("Quality after one pass, mean", [{"arm": "all-pairs", "points": 0.0}])]))
    assert {row["measured"] for row in targets.rows(Results.read(tmp_path))} == {"not measured"}


def test_the_newest_full_results_on_the_device_count(tmp_path: Path) -> None:
    def of(ratio: float, date: str) -> dict[str, Any]:
        return report(date, evaluation=[("AUC and EER of all", [{"arm": "pairsim", "ratio": ratio}])])

    def figure() -> str:
        (found,) = (
            row for row in targets.rows(Results.read(tmp_path)) if str(row["what"]).startswith("AUC and EER on")
        )
        return str(found["measured"])

    write(tmp_path, "b.json", of(6.0, "2026-11-25T00:00:00+00:00"))
    write(tmp_path, "a.json", of(7.0, "2026-11-26T00:00:00+00:00"))
    assert figure() == "7x"
    quick, cuda = of(8.0, "2026-11-27T00:00:00+00:00"), of(9.0, "2026-11-28T00:00:00+00:00")
    quick["options"]["quick"], cuda["options"]["device"] = True, "cuda"
    write(tmp_path, "quick.json", quick)
    write(tmp_path, "cuda.json", cuda)
    assert figure() == "7x"
    assert Results.read(tmp_path, cuda=True).row("evaluation", "AUC", "pairsim") == {"arm": "pairsim", "ratio": 9.0}


def test_every_target_reads_a_benchmark_that_there_is() -> None:
    assert set(BENCHMARKS) >= targets.MADE_FOR_TARGETS
    assert set(everything()["benchmarks"]) <= set(BENCHMARKS)


def test_compare_shows_both_with_their_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def of(seconds: float, ratio: float, cpu: str) -> dict[str, Any]:
        row = {"arm": "pairsim", "seconds": seconds, "seconds_low": 0.1, "ratio": ratio, "runs": 3, "pairs": 20_000}
        found = report(loading=[("Batches", [row])])
        found["hardware"]["cpu"] = cpu
        return found

    one, other = of(2.0, 50.0, "A CPU"), of(1.0, 75.0, "Another CPU")
    other["benchmarks"]["losses"] = [{"title": "Only here", "rows": [{"arm": "x", "points": 1.0}], "notes": []}]
    paths = [str(write(tmp_path, name, content)) for name, content in (("a.json", one), ("b.json", other))]
    assert command.main(["compare", *paths]) == 0
    printed = capsys.readouterr().out
    assert "hardware cpu differs: A CPU in A, Another CPU in B." in printed
    assert "On different hardware only the ratios" in printed
    assert "| Batches | pairsim, pairs 20000 | seconds | 2 | 1 | 0.5 |" in printed
    assert "| Batches | pairsim, pairs 20000 | ratio | 50 | 75 | 1.5 |" in printed
    assert "| losses | Only here | x | points | B |" in printed
    assert "runs" not in printed
    assert "seconds low" not in printed
    compare([paths[0], paths[0]])
    assert "Hardware, versions and options are the same." in capsys.readouterr().out


def test_compare_refuses_what_is_not_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path, "x.json", {"something": "else"}))
    assert compare([path, path]) == 2
    assert "Expected results of python -m benchmarks --json" in capsys.readouterr().err
    assert compare([path, str(tmp_path / "absent.json")]) == 2


def test_benchmarks_page_has_the_targets_once_something_is_measured(tmp_path: Path) -> None:
    assert benchmarks(Results.read(tmp_path)) == ""
    content = everything()
    del content["benchmarks"]["evaluation"]
    write(tmp_path, "r.json", content)
    section = benchmarks(Results.read(tmp_path))
    assert "| time to 99.19 % | the notebook's 30 epochs | 80x | 100x | 90x |" in section
    assert "| 15x | 20x | not measured |" in section
    page = with_measured(f"before\n{BEGIN}old\n{END}after\n", section)
    assert page == f"before\n{BEGIN}{section}{END}after\n"
    assert with_measured(page, section) == page


def test_readme_leaves_out_what_is_not_measured(tmp_path: Path) -> None:
    assert highlights(Results.read(tmp_path)) == "Not measured yet.\n"
    content = everything()
    rows = content["benchmarks"]["time-to-quality"][0]["rows"]
    rows[1]["seconds"] = 12.34
    write(tmp_path, "r.json", content)
    lines = highlights(Results.read(tmp_path)).splitlines()
    assert len(lines) == 6
    assert lines[5] == "Measured on A CPU, 2 cores, with torch 2.15.0."
    assert lines[3] == (
        "| pairs of edited copies of photographs (3 edits) that `pairsim duplicates` finds | 96.0%, with 1 false pair "
        "| 50.0%: the best perceptual hash, imagehash phash; 80.0%: imagededup CNN (at thresholds chosen on the same "
        "pictures, with at most 1 false pair) |"
    )
    assert (
        "| 12.3 s, with Muon and 60% of the images | notebook: 90x as long; pytorch-metric-learning: 3x as long"
        in lines[2]
    )


def test_readme_is_of_files_that_are_there() -> None:
    reports = Results.read(FOLDER).reports
    assert {"reference", "quality", "sampling", "index", "import"} <= set(reports)
    assert len(targets.rows(Results.read(FOLDER))) == len(targets.TARGETS)
