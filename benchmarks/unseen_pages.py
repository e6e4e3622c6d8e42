"""Sections on classes that training never saw: who wins where, and the figures of docs/concepts/heads.md.

`python -m benchmarks.readme` writes them from the files in `benchmarks/results/`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import omniglot, open_world
from benchmarks.report import aligned_table, measured_on
from benchmarks.results import Results
from benchmarks.targets import NOT_MEASURED
from benchmarks.timing import Row

PHOTOGRAPHS = "Unseen classes in photographs"
COSINE, CLOSED, TRAINED, LIBRARY = (
    "frozen, cosine",
    "frozen, best closed-form head",
    "`pairsim train`",
    "pytorch-metric-learning, best",
)
PUBLISHED = "published"
ARMS = {
    COSINE: (open_world.FROZEN,),
    CLOSED: ("frozen, standardize", "frozen, whiten"),
    TRAINED: (open_world.TRAINED,),
    LIBRARY: ("frozen, linear by ", "fine-tuned by "),
}
"""For each column of the table of winners, how the names of its arms begin."""

_SETS = {"groceries": "products (groceries)", "lfw-people": "faces (LFW)"}


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A row of the table of winners.

    Attributes:
        what: What is compared, and by which figure.
        benchmark: Its name.
        title: How its table with a row for each arm and seed or split begins.
        column: The figure.
        prefix: What the names of all its arms begin with.
        arms: As `ARMS`.
        higher: Whether a higher figure is better.
        published: Figures of others by source, the best first.
        same_classes: Whether those are of the same test classes, so that they can win.
    """

    what: str
    benchmark: str
    title: str
    column: str
    prefix: str = ""
    arms: Mapping[str, Sequence[str]] = field(default_factory=lambda: ARMS)
    higher: bool = False
    published: Mapping[str, float] = field(default_factory=dict)
    same_classes: bool = True

    def figures(self, results: Results) -> dict[str, dict[str, float]]:
        """The figures of each column by seed or split, those of its best arm; only columns that were measured."""
        by_arm: dict[str, dict[str, float]] = {}
        for row in results.rows(self.benchmark, self.title) or ():
            if self.column in row:
                seed = str(row.get("split", row.get("seed")))
                by_arm.setdefault(str(row["arm"]), {})[seed] = float(row[self.column])
        found = {}
        for column, names in self.arms.items():
            starts = tuple(self.prefix + name for name in names)
            arms = [values for arm, values in by_arm.items() if arm.startswith(starts)]
            if arms:
                found[column] = min(arms, key=lambda values: self._badness(values.values()))
        return found

    def winners(self, figures: Mapping[str, Mapping[str, float]]) -> set[str]:
        """The columns that win: the best mean, and any as good in one of the splits; none without a competitor."""
        seeds = {seed for values in figures.values() for seed in values}
        entries = dict(figures)
        if self.published and self.same_classes:
            entries[PUBLISHED] = dict.fromkeys(seeds, next(iter(self.published.values())))
        if len(entries) < 2:
            return set()
        best = entries[min(entries, key=lambda column: self._badness(entries[column].values()))]
        return {
            column
            for column, values in entries.items()
            if any(self._badness([values[seed]]) <= self._badness([best[seed]]) for seed in values.keys() & best)
        }

    def _badness(self, values: Iterable[float]) -> float:
        return statistics.mean(values) * (-1 if self.higher else 1)

    def cells(self, results: Results) -> list[str]:
        """The row: what is compared, a cell for each column, and what was published."""
        figures = self.figures(results)
        won = self.winners(figures)
        cells = {column: _cell(figures[column]) if column in figures else NOT_MEASURED for column in ARMS}
        cells[PUBLISHED] = ", ".join(f"{value:.1%} ({source})" for source, value in self.published.items()) or "-"
        return [self.what, *(f"**{cell}**" if column in won else cell for column, cell in cells.items())]


def _omniglot(what: str, column: str, published: Mapping[str, float], *, same_classes: bool = True) -> Contest:
    return Contest(
        what=f"characters (Omniglot), {what}",
        benchmark="omniglot",
        title="Omniglot, unseen characters",
        column=column,
        arms={TRAINED: (omniglot.ARMS[0].name,)},
        higher=True,
        published=published,
        same_classes=same_classes,
    )


CONTESTS = (
    *(
        Contest(what=f"{what}, EER", benchmark="open-world", title=PHOTOGRAPHS, column="eer", prefix=f"{name}, ")
        for name, what in _SETS.items()
    ),
    Contest(what="pairs of faces (LFW DevTest), EER", benchmark="lfw-pairs", title="LFW", column="eer"),
    *(
        Contest(
            what=f"signatures, {kind}, EER",
            benchmark="signatures",
            title="Signatures of unseen writers",
            column=column,
            arms={**ARMS, TRAINED: ("pairsim train, with groups",)},
        )
        for kind, column in (("forgeries", "eer_skilled"), ("other writers", "eer_strangers"))
    ),
    _omniglot(
        "20-way one-shot within an alphabet, accuracy",
        "within_alphabet",
        {"Koch et al. 2015": 0.92},
    ),
    _omniglot(
        "20-way one-shot of any characters, accuracy",
        "any_characters",
        {"prototypical nets, Snell et al. 2017": 0.96, "matching nets, Vinyals et al. 2016": 0.938},
        same_classes=False,
    ),
    _omniglot("verification, accuracy", "verification", {"Koch et al. 2015": 0.9342}),
)


def winners(results: Results) -> list[str]:
    """Return the lines of the table of winners, if one of its figures was measured."""
    if not any(contest.figures(results) for contest in CONTESTS):
        return []
    return [
        "### Who wins where",
        "",
        "Classes that are not in training. Mean of the splits or seeds, lowest to highest in parentheses. The equal "
        "error rate (EER) is better if lower, accuracy if higher.",
        "",
        *aligned_table(["", *ARMS, PUBLISHED], [contest.cells(results) for contest in CONTESTS]),
        "- Bold: the best mean, and what is as good in at least one split. Nothing is bold without a competitor.",
        "- `pairsim train` is one arm, chosen without test classes. Of heads and of losses the best by these test "
        "figures is shown, which is in their favour. `pairsim train` also chooses the part of the image, by training "
        "classes; the other arms see whole images.",
        "- Signatures: with groups, so that genuine and forged signatures of a writer come in the same batches.",
        f"- Omniglot: {omniglot.ARMS[0].name}. Published figures are as their authors state them, with other training "
        "characters and other pairs. Prototypical and matching nets also had other test characters, so there is no "
        "winner. Newer methods may be better.",
        "",
    ]


def photographs(results: Results) -> str:
    """Return the section of docs/concepts/heads.md between the markers."""
    means = {str(row["arm"]): row for row in results.rows("open-world", f"{PHOTOGRAPHS}, mean") or ()}
    if not means:
        return "Not measured yet.\n"
    arms = dict.fromkeys(arm.partition(", ")[2] for arm in means)
    head = ["", *(cell for what in _SETS.values() for cell in (f"{what}, EER", "recall@1"))]
    splits = {row["arm"].partition(", ")[2]: row["splits"] for row in means.values()}
    most = max(splits.values())
    names = {arm: arm if splits[arm] == most else f"{arm} ({splits[arm]} splits)" for arm in arms}
    lines = [f"Mean of {most} splits. {measured_on(results.reports['open-world'])}", ""]
    lines += aligned_table(head, [[names[arm], *_figures(means, arm)] for arm in arms])
    shares = [f"{_share_of_head(means, name):.0%} on {what}" for name, what in _SETS.items()]
    lines.append(
        f"Of what `pairsim train` gains in EER over the frozen net, the linear head alone gains {' and '.join(shares)}."
    )
    return "\n".join(lines) + "\n"


def library_best(results: Results, name: str) -> tuple[float, int] | None:
    """Return the lowest mean EER of pytorch-metric-learning on a set of photographs, and its number of splits."""
    contest = next(one for one in CONTESTS if one.prefix == f"{name}, ")
    figures = contest.figures(results).get(LIBRARY)
    return None if figures is None else (statistics.mean(figures.values()), len(figures))


def _cell(values: Mapping[str, float]) -> str:
    mean = f"{statistics.mean(values.values()):.1%}"
    return mean if len(values) == 1 else f"{mean} ({min(values.values()):.1%} to {max(values.values()):.1%})"


def _figures(means: Mapping[str, Row], arm: str) -> list[str]:
    rows = [means.get(f"{name}, {arm}") for name in _SETS]
    return [cell for row in rows for cell in _pair(row)]


def _pair(row: Row | None) -> tuple[str, str]:
    return (NOT_MEASURED, NOT_MEASURED) if row is None else (f"{row['eer']:.1%}", f"{row['recall_at_1']:.3f}")


def _share_of_head(means: Mapping[str, Row], name: str) -> float:
    frozen, head, trained = (
        means[f"{name}, {arm}"]["eer"] for arm in (open_world.FROZEN, "frozen, linear", open_world.TRAINED)
    )
    return float((frozen - head) / (frozen - trained))
