"""`verify_pairs`: a verdict on each pair of a list, with each picture read and embedded once."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

from pairsim._common.csv_files import write_csv
from pairsim._common.numbers import counted, similarity_threshold
from pairsim._common.unit_similarity import lowest_match, pair_similarity
from pairsim.data.pairs.pair_files import read_table
from pairsim.data.pairs.pair_text import picture_path
from pairsim.encoding.pictures import Skipped, encode_pictures
from pairsim.errors import DataError, printable
from pairsim.models import SimilarityModel
from pairsim.models.given_model import check_model
from pairsim.models.verdict import warn_of_one_decision
from pairsim.models.weight_names import check_weights

StrPath: TypeAlias = str | os.PathLike[str]
PathPairs: TypeAlias = StrPath | Sequence[tuple[StrPath, StrPath]] | Sequence[tuple[StrPath, StrPath, int]]
"""A CSV file, or pairs of paths with or without their target (1 = same class, 0 = different)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PairVerdicts:
    """A model's verdicts on a list of pairs, in the order of the list.

    Attributes:
        first: First picture of each pair, as the list names it.
        second: Second picture of each pair.
        similarity: Cosine of the embeddings `[P]`, in [-1, 1].
        probability: Probability that both show the same thing `[P]`, in [0, 1], as of `SimilarityModel.predict_proba`.
        match: True where the similarity reaches the threshold, to within 2^-19 `[P]`.
        threshold: The threshold.
        fmr: False match rate measured at that threshold, or `None` if there is none.
        target: 1 = same class, 0 = different `[P]`; `None` if the list has no targets.
        skipped: Pictures that could not be read, each with its first pair as `index`.
        num_skipped: Number of pairs left out with them.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    similarity: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]
    match: npt.NDArray[np.bool_]
    threshold: float
    fmr: float | None
    target: npt.NDArray[np.int64] | None = None
    skipped: tuple[Skipped, ...] = ()
    num_skipped: int = 0

    def __len__(self) -> int:
        return len(self.first)

    @property
    def correct(self) -> npt.NDArray[np.bool_] | None:
        """True where the verdict is that of the target `[P]`; `None` without targets."""
        return None if self.target is None else self.match == (self.target == 1)

    @property
    def accuracy(self) -> float | None:
        """Share of verdicts that are correct; `None` without targets or pairs."""
        correct = self.correct
        return None if correct is None or len(correct) == 0 else float(correct.mean())

    def to_dict(self) -> dict[str, Any]:
        """The verdicts as JSON values: figures of the list, and `pairs`, one object each."""
        columns = self._columns()
        return {
            "num_pairs": len(self),
            "num_matches": int(self.match.sum()),
            "threshold": self.threshold,
            "fmr": self.fmr,
            "accuracy": self.accuracy,
            "pairs": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
            "skipped": [{"file": one.name, "reason": one.reason} for one in self.skipped],
            "num_skipped": self.num_skipped,
        }

    def to_csv(self, path: StrPath) -> None:
        """Write a row for each pair: `first,second,similarity,probability,match,threshold,fmr`, match as 1 or 0.

        With targets `target,correct` follow. Names are written unchanged: a spreadsheet may take one that begins with
        `=`, `+`, `-` or `@` for a formula.

        Args:
            path: The file, which is replaced in one step.

        Raises:
            RunError: If it cannot be written.
        """
        columns = self._columns(threshold=[self.threshold] * len(self), fmr=[self.fmr] * len(self))
        write_csv(path, tuple(columns), zip(*columns.values(), strict=True))

    def __str__(self) -> str:
        matches = int(self.match.sum())
        fmr = "" if self.fmr is None else f", where {self.fmr:.2%} of different held-out pairs match"
        lines = [
            f"{counted(len(self), 'pair')} at threshold {self.threshold:.4f}{fmr}: {matches:,} match, "
            f"{len(self) - matches:,} do not"
        ]
        if self.target is not None and self.accuracy is not None:
            positive = self.target == 1
            lines.append(
                f"accuracy {self.accuracy:.2%}: {np.sum(self.match & ~positive):,} of {np.sum(~positive):,} different "
                f"pairs match, {np.sum(~self.match & positive):,} of {np.sum(positive):,} same pairs do not"
            )
        if self.skipped:
            lines.append(
                f"{counted(self.num_skipped, 'pair')} skipped, as {counted(len(self.skipped), 'picture')} cannot "
                "be read, such as "
                f"{printable(str(self.skipped[0].name))}: {self.skipped[0].reason}"
            )
        return "\n".join(lines)

    def _columns(self, **more: Sequence[Any]) -> dict[str, Sequence[Any]]:
        columns: dict[str, Sequence[Any]] = {
            "first": self.first,
            "second": self.second,
            "similarity": self.similarity.tolist(),
            "probability": self.probability.tolist(),
            "match": self.match.tolist(),
            **more,
        }
        if self.target is not None and self.correct is not None:
            columns |= {"target": self.target.tolist(), "correct": self.correct.tolist()}
        return columns


def verify_pairs(
    model: SimilarityModel,
    pairs: PathPairs,
    *,
    threshold: float | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    root: StrPath | None = None,
    progress: bool | None = None,
) -> PairVerdicts:
    """Decide for each pair of a list if both pictures show the same thing; `SimilarityModel.verify` for many pairs.

    Args:
        model: The model, on its device.
        pairs: A file as `PairDataset.from_csv` takes it, with or without labels; or a sequence of `(path, path)` or
            `(path, path, target)`.
        threshold: Threshold on similarity in [-1, 1]; by default the model's own.
        on_error: "raise" stops at a picture that cannot be read; "skip" leaves out its pairs and lists it in `skipped`.
        root: Folder that relative paths start from; by default the CSV's own folder, or the current one.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The verdicts in the order of the list; none for an empty sequence. They hold no NaN.

    Raises:
        DataError: If the file is missing, lists no pairs or has a row that cannot be understood (the message gives its
            line), or if none of the pictures can be read.
        ImageReadError: If a picture cannot be read, unless skipped; the message names it.
        TypeError: If a pair is not made of paths.
        ValueError: If the threshold is out of range or the model has none, or a target is neither 0 nor 1.

    Example:
        >>> verdicts = verify_pairs(SimilarityModel(), [])
        >>> print(verdicts)
        0 pairs at threshold 0.5000: 0 match, 0 do not
    """
    check_model(model)
    check_weights(model)
    threshold = _checked_threshold(model, threshold)
    rows, folder = _read(pairs, None if root is None else Path(root))
    names = list(dict.fromkeys(name for row in rows for name in row[:2]))  # each once, by its first pair
    number = {name: k for k, name in enumerate(names)}
    numbers = np.array([(number[first], number[second]) for first, second, _ in rows], dtype=np.int64).reshape(-1, 2)
    paths = [picture_path(folder, name) for name in names]
    encoded = encode_pictures(model, paths, on_error=on_error, progress=progress)
    row_of = np.full(len(names), -1)
    row_of[encoded.indices] = np.arange(len(encoded))
    kept = np.flatnonzero((row_of[numbers] >= 0).all(axis=1)).tolist()
    similarity = pair_similarity(encoded.embeddings, *torch.from_numpy(row_of[numbers[kept]]).T)
    # both in the precision of `SimilarityModel.verify`
    cosine, probability = torch.stack((similarity, model.probability(similarity))).double().cpu().numpy()
    own = model.operating_point
    return PairVerdicts(
        first=tuple(rows[k][0] for k in kept),
        second=tuple(rows[k][1] for k in kept),
        similarity=cosine,
        probability=probability,
        match=cosine >= lowest_match(threshold),
        threshold=threshold,
        fmr=own.fmr if own is not None and own.threshold == threshold else None,
        target=np.array([rows[k][2] for k in kept], dtype=np.int64) if rows and rows[0][2] is not None else None,
        skipped=tuple(
            Skipped(int((numbers == one.index).any(axis=1).argmax()), names[one.index], one.reason)
            for one in encoded.skipped
        ),
        num_skipped=len(rows) - len(kept),
    )


_Row: TypeAlias = tuple[str, str, int | None]


def _checked_threshold(model: SimilarityModel, threshold: float | None) -> float:
    if threshold is None:
        if not math.isfinite(model.threshold):
            raise ValueError("Expected a model with a threshold, its projection has none. Pass threshold=.")
        warn_of_one_decision(model)
        return model.threshold
    return similarity_threshold(threshold)


def _read(pairs: PathPairs, root: Path | None) -> tuple[list[_Row], Path | None]:
    """Return the pairs with their targets, of all or of none, and the folder that their paths start from."""
    if isinstance(pairs, str | os.PathLike):
        file = Path(pairs)
        folder = root or file.parent
        table = read_table(file).with_names_in(folder)
        if not table.pairs:
            raise DataError(f"Expected {file} to list pairs as first,second or first,second,target, found none.")
        if table.target is None:
            return [(*pair, None) for pair in table.pairs], folder
        return list(table.rows), folder
    rows: list[_Row] = []
    for number, pair in enumerate(cast("Iterable[Any]", pairs)):
        values: tuple[Any, ...] = (pair,) if isinstance(pair, str) or not isinstance(pair, Iterable) else tuple(pair)
        if len(values) not in (2, 3) or not all(isinstance(path, str | os.PathLike) for path in values[:2]):
            found = f"{len(values)} values" if len(values) > 3 else ", ".join(type(value).__name__ for value in values)
            raise TypeError(
                f"Expected pairs of paths, with or without a target, got {found} as number {number}. Give "
                "[(path, path), ...]; use evaluate for a dataset."
            )
        if len(values) == 3 and values[2] not in (0, 1):
            raise ValueError(f"Expected targets 1 (same) or 0 (different), got {values[2]!r} in pair {number}.")
        rows.append((os.fspath(values[0]), os.fspath(values[1]), int(values[2]) if len(values) == 3 else None))
    if len({target is None for _, _, target in rows}) > 1:
        raise ValueError("Expected a target in every pair or in none, found both. Add the missing ones, or leave all.")
    return rows, root
