"""What is aimed at beside what was measured. Not a measurement: it reads the files in `benchmarks/results`.

The targets are for 2 CPU cores. A figure is taken from the newest file of its benchmark; what no file has is "not
measured". Where an arm had several figures, such as the lowest and the highest of some rounds, the target is held
against the median.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks import commands, duplicates, loss_memory, one_picture, time_to_quality
from benchmarks.losses import ALL_PAIRS
from benchmarks.mnist_quality import FORWARDS_TITLE
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.results import Results
from benchmarks.timing import Row

Unit = Literal["times", "percent", "points", "share", "fraction", "error", "seconds", "at most times", "loss"]
NOT_MEASURED = "not measured"
LARGEST_CROP = "cropped 20 %"


@dataclass(frozen=True)
class Target:
    """A figure that is aimed at.

    Attributes:
        what: Is measured.
        against: It is compared with.
        least: What it should be at least, or at most where less is better.
        aim: What is hoped for.
        unit: How figures are written, and whether more or less is better.
        find: Gives the figure from results, or `None` if it was not measured.
        remark: Gives what has to be known beside the figure, or `None`.
    """

    what: str
    against: str
    least: float
    aim: float
    unit: Unit
    find: Callable[[Results], float | None]
    remark: Callable[[Results], str | None] = lambda _: None

    @property
    def less_is_better(self) -> bool:
        """Whether the figure should be small."""
        return self.unit in ("share", "fraction", "error", "seconds", "at most times", "loss")

    def verdict(self, figure: float | None) -> str:
        """What a figure comes to: "aim", "yes", "no" or "not measured"."""
        if figure is None:
            return NOT_MEASURED
        if self.reaches(figure, self.aim):
            return "aim"
        return "yes" if self.reaches(figure, self.least) else "no"

    def reaches(self, figure: float, limit: float) -> bool:
        """Whether a figure is as good as a limit."""
        return figure <= limit if self.less_is_better else figure >= limit

    def text(self, figure: float | None, *, limit: bool = False) -> str:
        """A figure as it is written; a limit with its sign."""
        if figure is None:
            return NOT_MEASURED
        written = {
            "times": lambda: f"{figure:,.0f}x" if figure >= 100 else f"{figure:.3g}x",
            "percent": lambda: f"{figure:.2%}",
            "points": lambda: "equal" if limit and figure == 0 else f"{figure:+.2f} points",
            "share": lambda: f"{figure:.1%}",
            "fraction": lambda: f"1/{1 / figure:,.0f}" if figure else "0",
            "error": lambda: f"{figure:.1g}",
            "seconds": lambda: f"{figure:.3g} s",
            "at most times": lambda: f"{figure:.3g}x",
            "loss": lambda: f"{figure:.2g} points",
        }[self.unit]()
        return f"<= {written}" if limit and self.less_is_better else written

    def row(self, results: Results) -> Row:
        """The target with its figure."""
        figure, remark = self.find(results), self.remark(results)
        return {
            "what": self.what,
            "against": self.against,
            "at_least": self.text(self.least, limit=True),
            "aim": self.text(self.aim, limit=True),
            "measured": self.text(figure) + (f" ({remark})" if remark is not None else ""),
            "met?": self.verdict(figure),
        }


def rows(results: Results) -> list[Row]:
    """All targets with their figures."""
    return [target.row(results) for target in TARGETS]


def run(options: Options) -> list[Table]:
    """The table of targets."""
    results = Results.read(options.results)
    left = sorted((MADE_FOR_TARGETS | {"index", "sampling", "quality"}) - set(results.reports))
    if left:
        print(f"targets: no results of {', '.join(left)}", file=sys.stderr)
    notes = (
        "Read from the files in benchmarks/results, or in --results DIR; files of --quick do not count.",
        "met?: yes is at least the first figure, aim is the second one.",
    )
    return [Table("Targets on 2 cores", rows(results), notes)]


def _value(row: Row | None, key: str) -> float | None:
    return None if row is None or row.get(key) is None else float(row[key])


def _cell(benchmark: str, title: str, arm: str, key: str) -> Callable[[Results], float | None]:
    """Finds one cell: of the benchmark's table whose title begins so, in the row whose arm begins so."""
    return lambda results: _value(results.row(benchmark, title, arm), key)


def _slower(benchmark: str, title: str, arm: str, results: Results) -> float | None:
    """How many times as long an arm takes as the first one."""
    found = _value(results.row(benchmark, title, arm), "ratio")
    return None if found is None else 1 / found


def _faster_than(arms: Iterable[str]) -> Callable[[Results], float | None]:
    """How much faster pairsim reaches the quality, as the mean over seeds, than the fastest of some arms."""

    def find(results: Results) -> float | None:
        table = results.rows("time-to-quality", "Seconds of training to") or []
        by_arm = {str(row["arm"]): row for row in table}
        own = by_arm.get(time_to_quality.PAIRSIM)
        found = [value for arm in arms if (value := _value(by_arm.get(arm), "pairsim_is_faster")) is not None]
        if own is None or not found:
            return None
        return min(found) if float(own["mean_balanced_accuracy"]) >= time_to_quality.GOAL else 0.0

    return find


def _points_over_best_loss(results: Results) -> float | None:
    table = results.rows("losses", "Quality after one pass, mean") or []
    others = [float(row["points"]) for row in table if row["arm"] != ALL_PAIRS]
    return -max(others) if others and any(row["arm"] == ALL_PAIRS for row in table) else None


def _over_more_seeds(results: Results) -> str | None:
    """The same over more seeds, with its interval."""
    rows = results.rows("losses", "The best two over more seeds")
    if not rows or "points_low" not in rows[0]:
        return None
    row = rows[0]
    return (
        f"{row['seeds']} seeds: {row['points']:+.2f} points, 95 % interval {row['points_low']:+.2f} to "
        f"{row['points_high']:+.2f}"
    )


def _at_forwards(results: Results) -> float | None:
    table = results.rows("quality", FORWARDS_TITLE)
    return None if not table else float(table[0]["mean_balanced_accuracy"])


def _than_documented(results: Results) -> str | None:
    """The comparison with pytorch-metric-learning as documented alone."""
    find = _faster_than([time_to_quality.OWN])
    found = find(results)
    return None if found is None else f"as documented alone: {found:.3g}x"


def _over_lists(results: Results) -> str | None:
    """The same with labels in a list, the notebook's drawing at its best."""
    own, lists = (results.row("sampling", "Pair indices of an epoch", arm) for arm in ("pairsim", "notebook's Python"))
    if own is None or lists is None:
        return None
    return f"{float(own['ratio']) / float(lists['ratio']):.3g}x with its labels in a list"


def _of_loss(arm: str, key: str, images: int | None = None) -> Callable[[Results], float | None]:
    """Finds a figure of the loss at a batch size, or else at the largest one that has it."""

    def find(results: Results) -> float | None:
        table = results.rows("loss-memory", "Loss over all pairs") or []
        having = [row for row in table if row["arm"] == arm and images in (None, row["images"])]
        return _value(max((row for row in having if key in row), key=lambda row: int(row["images"]), default=None), key)

    return find


def _over(results: Results, benchmark: str, title: str, arm: str, other: str) -> float | None:
    """How many times the ratio of one arm is that of another."""
    own, its = (_value(results.row(benchmark, title, name), "ratio") for name in (arm, other))
    return None if own is None or its is None else own / its


def _by_batch(results: Results) -> str | None:
    """The same beside a loop by batch, and for photographs."""
    drawings = _value(results.row("encoding", "2,720 drawings", "pairsim encode"), "ratio")
    photographs = _value(results.row("encoding", "256 photographs", "pairsim encode"), "ratio")
    if drawings is None or photographs is None:
        return None
    return f"beside a loop by batch {drawings:.2f}x, of photographs {photographs:.2f}x"


_KINDS = ("random", "100 classes")


def _searches(results: Results, count: str) -> list[float]:
    title = f"The 10 nearest of 100,000: {count}, "
    found = [_value(results.row("search", f"{title}{kind}", "pairsim"), "ratio") for kind in _KINDS]
    return [ratio for ratio in found if ratio is not None]


def _slowest_search(results: Results, count: str) -> float | None:
    found = _searches(results, count)
    return min(found) if len(found) == len(_KINDS) else None


def _search_of_each_kind(results: Results, count: str) -> str | None:
    found = zip(_KINDS, _searches(results, count), strict=False)
    return ", ".join(f"{kind} {ratio:.2f}x" for kind, ratio in found) or None


def _one_picture(title: str, arm: str) -> Callable[[Results], float | None]:
    """The ratio of the slowest of the nets."""

    def find(results: Results) -> float | None:
        rows = [results.row("one-picture", f"{title}, {net}", arm) for net in one_picture.NETS]
        found = [ratio for row in rows if (ratio := _value(row, "ratio")) is not None]
        return min(found) if len(found) == len(rows) else None

    return find


def _each_net(title: str, arm: str) -> Callable[[Results], str | None]:
    def remark(results: Results) -> str | None:
        ratios = {net: _value(results.row("one-picture", f"{title}, {net}", arm), "ratio") for net in one_picture.NETS}
        return ", ".join(f"{net} {ratio:.2f}x" for net, ratio in ratios.items() if ratio is not None) or None

    return remark


def _largest(results: Results, arm: str, key: str) -> float | None:
    table = results.rows("exporting", "Exported files") or []
    found = [float(row[key]) for row in table if row["arm"] == arm and row.get(key) is not None]
    return max(found) if found else None


def _copies_found(title: str, false_pairs: int) -> Callable[[Results], float | None]:
    """Finds the share of pairs of copies that pairsim finds, or 0 if it finds more false pairs than are allowed."""

    def find(results: Results) -> float | None:
        row = results.row("duplicates", title, duplicates.PAIRSIM)
        if row is None:
            return None
        return float(row["recall"]) if row["false_pairs"] <= false_pairs else 0.0

    return find


def _other_searches(title: str) -> Callable[[Results], str | None]:
    """The best of the others, each at the threshold that is best on the same pictures."""

    def remark(results: Results) -> str | None:
        rows = results.rows("duplicates", title) or []
        best = max((row for row in rows if row["arm"] != duplicates.PAIRSIM), key=_recall, default=None)
        return None if best is None else f"{best['arm']}: {_recall(best):.1%}"

    return remark


def _recall(row: Row) -> float:
    return float(row["recall"])


def _edit_found(*, largest_crop: bool) -> Callable[[Results], float | None]:
    """Finds the smallest share of originals that are found with their copy, over the edits."""

    def find(results: Results) -> float | None:
        rows = results.rows("duplicates", duplicates.BY_EDIT) or []
        found = [float(row[duplicates.PAIRSIM]) for row in rows if (row["edit"] == LARGEST_CROP) == largest_crop]
        return min(found, default=None)

    return find


def _waiting(results: Results) -> float | None:
    found = _value(results.row("epoch", "Waiting for data", "pairsim"), "share")
    return None if found is None else max(found, 0.0)


MADE_FOR_TARGETS = frozenset(
    {
        *("loading", "epoch", "time-to-quality", "losses", "loss-memory", "inference", "evaluation"),
        *("encoding", "search", "serve", "gallery-loading", "exporting", "one-picture", "commands", "duplicates"),
    }
)
"""Benchmarks whose results belong to the targets and to little else."""

TARGETS = (
    Target(
        "index of MNIST's labels",
        "the notebook, which decodes every image",
        1_000,
        5_000,
        "times",
        _cell("index", "Index of", "pairsim", "ratio"),
    ),
    Target(
        "pair indices, 20,000",
        "the notebook's code for an item, without decoding",
        50,
        200,
        "times",
        _cell("sampling", "Pair indices of an epoch", "pairsim", "ratio"),
        _over_lists,
    ),
    Target(
        "batches to the model, 20,000 pairs",
        "the notebook's loader, 2 workers",
        40,
        100,
        "times",
        _cell("loading", "Batches to the model", "pairsim", "ratio"),
    ),
    Target(
        "training part of an epoch, same maths, fp32",
        "the notebook as written",
        1.25,
        1.5,
        "times",
        _cell("epoch", "Its training part alone", "pairsim, fp32", "ratio"),
    ),
    Target(
        "training part of an epoch, same maths, mixed precision",
        "the notebook as written",
        2.5,
        3.5,
        "times",
        _cell("epoch", "Its training part alone", "pairsim, auto", "ratio"),
    ),
    Target(
        "time to 99.19 %",
        "the notebook's 30 epochs",
        80,
        100,
        "times",
        _faster_than([time_to_quality.NOTEBOOK]),
    ),
    Target(
        "time to 99.19 %",
        "pytorch-metric-learning in its own trainer, the faster of as documented and tuned",
        4,
        5,
        "times",
        _faster_than([time_to_quality.OWN, time_to_quality.TUNED]),
        _than_documented,
    ),
    Target(
        "balanced accuracy after one pass",
        "pytorch-metric-learning's best loss in pairsim's loop",
        0.05,
        0.1,
        "points",
        _points_over_best_loss,
        _over_more_seeds,
    ),
    Target(
        "balanced accuracy after 1.2 million image forwards",
        "all 49,995,000 test pairs",
        0.9970,
        0.9975,
        "percent",
        _at_forwards,
    ),
    Target("waiting for data", "the training part of an epoch", 0.03, 0.01, "share", _waiting),
    Target(
        "memory of the loss over all pairs, B = 32,768",
        "the same with the matrix in one piece (scaled from the largest that fits)",
        1 / 8,
        1 / 32,
        "fraction",
        _of_loss(loss_memory.TILES, "ratio", 32_768),
    ),
    Target(
        "its gradients",
        "those with the matrix in one piece, largest relative difference",
        1e-5,
        1e-5,
        "error",
        _of_loss(loss_memory.WHOLE, "gradient_difference_to_tiles"),
    ),
    Target(
        "embeddings a second, in the faster precision",
        "the notebook's net, eager, fp32",
        2,
        3,
        "times",
        lambda results: _best(results.rows("inference", "Embeddings of"), "pairsim"),
    ),
    Target(
        "AUC and EER on all pairs of 10,000 images",
        "scikit-learn, from the same embeddings",
        15,
        20,
        "times",
        _cell("evaluation", "AUC and EER of all", "pairsim", "ratio"),
    ),
    Target(
        "AUC and EER of as many given scores",
        "scikit-learn",
        8,
        12,
        "times",
        _cell("evaluation", "AUC and EER of 49,995,000 given", "pairsim", "ratio"),
    ),
    Target(
        "encode a folder of 2,720 drawings",
        "a loop over the pictures with the same net",
        1.5,
        1.5,
        "times",
        lambda results: _over(results, "encoding", "2,720 drawings", "pairsim encode", "loop, one picture"),
        _by_batch,
    ),
    Target(
        "10 nearest of 100,000 for 1,000 queries",
        "FAISS's flat index, the slower of two kinds of data",
        1.2,
        1.5,
        "times",
        partial(_slowest_search, count="1,000 queries"),
        partial(_search_of_each_kind, count="1,000 queries"),
    ),
    Target(
        "10 nearest of 100,000 for one query",
        "FAISS's flat index, the slower of two kinds of data",
        1,
        1,
        "times",
        partial(_slowest_search, count="1 query"),
        partial(_search_of_each_kind, count="1 query"),
    ),
    Target(
        "21 products enrolled, 20 unknown: rank-1",
        "a frozen net with a head, of other products",
        0.88,
        0.92,
        "percent",
        _cell("identify", "Identification among", "groceries, frozen, whitened", "rank_1"),
    ),
    Target(
        "the same: FNIR at an FPIR of 10 %",
        "the same",
        0.55,
        0.40,
        "share",
        _cell("identify", "Identification among", "groceries, frozen, whitened", "fnir_at_0.1"),
    ),
    Target(
        "one query among 1,000,000 templates: time",
        "a bare matrix product with its maximum",
        1.2,
        1.2,
        "at most times",
        lambda results: _slower("identify", "One query among", "pairsim", results),
    ),
    Target(
        "pictures a second served to 64 clients",
        "one process that encodes in batches",
        0.8,
        1.0,
        "times",
        _cell("serve", "Encoding 28 x 28 PNG", "64 clients, 16", "ratio"),
    ),
    Target(
        "loading a gallery of 1,000,000 x 128",
        "checksums compared",
        2.0,
        2.0,
        "seconds",
        _cell("gallery-loading", "Loading 1,000,000", "pairsim Gallery, ids are paths", "seconds"),
    ),
    Target(
        "its memory at most",
        "its size with ids",
        1.2,
        1.2,
        "at most times",
        _cell("gallery-loading", "Loading 1,000,000", "pairsim Gallery, ids are paths", "peak_to_size"),
    ),
    Target(
        "embeddings of the ONNX file",
        "encode, largest difference",
        1e-4,
        1e-4,
        "error",
        lambda results: _largest(results, "onnxruntime, fp32", "max_difference"),
    ),
    Target(
        "balanced accuracy that int8 loses",
        "the model, all test pairs of MNIST, the worst of 3 seeds",
        0.2,
        0.2,
        "loss",
        lambda results: _largest(results, "onnxruntime, int8", "loss_points"),
    ),
    Target(
        "int8 file",
        "the fp32 file, times smaller",
        3,
        3,
        "times",
        _cell("exporting", "Exported files", "onnxruntime, int8", "times_smaller"),
    ),
    Target(
        "one picture at a time, exported model",
        "onnxruntime's session itself, the slowest of 3 nets",
        1 / 1.5,
        1,
        "times",
        _one_picture("One picture", one_picture.ENCODE_ONNX),
        _each_net("One picture", one_picture.ENCODE_ONNX),
    ),
    Target(
        "`verify` of two files",
        "Pillow and the net in a few lines, the slowest of 3 nets",
        1 / 1.1,
        1,
        "times",
        _one_picture("Two files", one_picture.VERIFY),
        _each_net("Two files", one_picture.VERIFY),
    ),
    Target(
        "`pairsim compare`, the whole process",
        "a process that imports torch and torchvision",
        1.1,
        1,
        "at most times",
        _cell("commands", "Whole processes", commands.COMPARE, "times"),
    ),
    Target(
        "`pairsim --help`, the whole process",
        "seconds",
        0.3,
        0.2,
        "seconds",
        _cell("commands", "Whole processes", "pairsim --help", "seconds"),
    ),
    Target(
        "`pairsim train` on groceries, frozen backbone",
        "seconds",
        30,
        20,
        "seconds",
        _cell("commands", commands.TRAINING, commands.TRAIN_FROZEN, "seconds"),
    ),
    Target(
        "the same: choosing and fitting the head",
        "seconds",
        5,
        3,
        "seconds",
        _cell("commands", commands.TRAINING, commands.HEADS, "seconds"),
    ),
    Target(
        "the same, fine-tuned",
        "seconds",
        180,
        120,
        "seconds",
        _cell("commands", commands.TRAINING, commands.TRAIN, "seconds"),
    ),
    Target(
        "pairs of edited copies that `duplicates` finds",
        "at most 1 false pair",
        0.85,
        0.95,
        "percent",
        _copies_found(duplicates.EDITED, 1),
        _other_searches(duplicates.EDITED),
    ),
    Target(
        "the same: original and copy, the edit that is found least",
        "all edits but a crop of 20 %",
        0.95,
        1.0,
        "percent",
        _edit_found(largest_crop=False),
    ),
    Target(
        "the same: original and a crop of 20 % of each side",
        "original and copy",
        0.80,
        0.95,
        "percent",
        _edit_found(largest_crop=True),
    ),
    Target(
        "the same: originals told to go",
        "a copy with other pixels that is kept",
        0,
        0,
        "error",
        _cell("duplicates", duplicates.EDITED, duplicates.PAIRSIM, "originals_to_go"),
    ),
    Target(
        "pairs of real copies that `duplicates` finds",
        "no false pair",
        0.80,
        0.95,
        "percent",
        _copies_found(duplicates.REAL, 0),
        _other_searches(duplicates.REAL),
    ),
    Target(
        "processor time of `duplicates`, edited copies",
        "imagehash's phash, on one core",
        3,
        2,
        "at most times",
        _cell("duplicates", duplicates.COST, f"{duplicates.PAIRSIM}, 1 core", "times_phash"),
    ),
    Target(
        "share of decoding in the processor time of `duplicates`",
        "100,000 pictures of 256 x 256",
        0.80,
        0.90,
        "percent",
        _cell("duplicates", duplicates.MADE, duplicates.PAIRSIM, "decoding"),
    ),
)


def _best(table: list[Row] | None, arm: str) -> float | None:
    """The best ratio among the arms whose names begin so."""
    found = [float(row["ratio"]) for row in table or () if str(row["arm"]).startswith(arm)]
    return max(found) if found else None
