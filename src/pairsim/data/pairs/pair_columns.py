"""Find the images, the label, the fold, the kind and the group of a list of pairs by its header, or by position."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pairsim.errors import DataError

_WORDS = (
    {"1"},
    {"0"},
    {"true", "t", "yes", "y", "wahr", "vrai"},
    {"false", "f", "no", "n", "falsch", "faux"},
    {"same", "match", "matched", "matching", "genuine", "positive", "similar", "mated"},
    {
        *("different", "diff", "nonmatch", "nomatch", "notmatched", "mismatch", "unmatched", "nonmatching"),
        *("impostor", "imposter", "negative", "dissimilar", "notsame", "notsimilar", "nonmated"),
    },
)
"""Words for labels, of positive and of negative pairs by turns."""
TARGETS = {word: 1 - kind % 2 for kind, words in enumerate(_WORDS) for word in words}
_LABELS = (
    {"label", "labels", "target", "targets", "groundtruth", "gt", "truth"},
    {"same", "issame", "sameclass", "issameclass", "sameperson", "sameid", "match", "ismatch", "matched", "matches"}
    | {"similar", "issimilar", "genuine", "isgenuine", "positive", "ispositive", "duplicate", "isduplicate"},
    {"y"},
)
"""Names of a column of labels: of any, of labels whose 1 means the same, and `y`, which may be an image beside `x`."""
_REVERSED = {f"{be}{word}" for word in (*_WORDS[-1], "differ", "forged", "forgery", "fake") for be in ("", "is")}
_SCORES = {
    *("similarity", "dissimilarity", "distance", "dist", "score", "scores", "probability", "confidence"),
    *("threshold", "weight"),
}
_FOLDS = {"fold", "folds", "foldnumber", "foldid"}
_KINDS, _GROUPS = {"kind"}, {"group"}
_FILE_NOUNS, _IMAGE_NOUNS = ("path", "file"), ("image", "img", "im", "picture", "pic", "photo", "face")
_NOUN = f"(?:filename|name|number|num|index|idx|id|sample|item|{'|'.join(_FILE_NOUNS + _IMAGE_NOUNS)}){{0,3}}"
_SIDES = (("0", "1"), ("1", "2"), ("a", "b"), ("x", "y"), ("first", "second"), ("left", "right"))
_SIDES_BY_NAME = (("query", "reference"), ("query", "gallery"), ("probe", "gallery"), ("anchor", "other"))
_NUMBER = re.compile(r"[-+]?[0-9]{1,20}([.,][0-9]{0,20})?")
_FILE = re.compile(r".*(\.\w{1,5}|[/\\].*)")


@dataclass(frozen=True)
class Columns:
    """Position of each column, from 0; `width` is their number, `None` without a header for rows of 3 or 4."""

    first: int = 0
    second: int = 1
    target: int | None = 2
    fold: int | None = None
    width: int | None = None
    kind: int | None = None
    group: int | None = None


def is_pair(fields: Sequence[str]) -> bool:
    """Whether fields are two images and a label, and perhaps a fold, in this order."""
    return len(fields) in (3, 4) and (_word(fields[2]) in TARGETS or _word(fields[2]) == "-1") and all(fields[:2])


def rank(rows: list[list[str]]) -> tuple[int, ...]:
    """Rank rows of fields by how much they look like pairs: with a header, with labels, of files, of one length."""
    try:
        named = bool(rows) and header_columns(rows) is not None
    except DataError:  # it is a header, although a wrong one
        named = True
    lengths = {len(row) for row in rows}
    files = sum(len(row) >= 2 and all(map(_FILE.fullmatch, row[:2])) for row in rows)
    return (
        int(named),
        sum(map(is_pair, rows)),
        files,
        int(len(lengths) == 1 and max(lengths) > 1),
    )


def header_columns(rows: Sequence[Sequence[str]]) -> Columns | None:
    """Return the columns that a header in the first row names; `None` if it is not a header.

    A row such as `a,b,same` is a header, unless labels below are such words, too, and the images are not files.

    Raises:
        DataError: If it names several columns of labels, or labels whose 1 means different.
    """
    header, below = [_word(field) for field in rows[0]], rows[1:]
    targets, reverse = _label_columns(header), next((k for k, name in enumerate(header) if name in _REVERSED), None)
    names = _REVERSED.union(*_LABELS)
    if any(name in TARGETS and (name not in names or _are_words(below, k)) for k, name in enumerate(header) if k > 1):
        return None
    sides = _side_columns(header, bare=bool(targets) or reverse is not None)
    plain = not any(field.isdecimal() or _FILE.fullmatch(field) for field in rows[0][:2])
    if sides is None and not (targets == [2] and plain and len(header) in (3, 4)):
        return None
    if reverse is not None and not targets:
        raise DataError(
            f"Expected a column of labels that are 1 for the same class and 0 for different ones, found "
            f"{rows[0][reverse]!r}, whose 1 means different. Swap the labels and name the column label."
        )
    if len(targets) > 1:
        named = " and ".join(repr(rows[0][k]) for k in targets)
        raise DataError(f"Expected one column of labels, found {named}. Rename those that are not the label.")
    first, second = sides or (0, 1)
    fold, kind, group = (
        next((k for k, name in enumerate(header) if name in names and k not in (first, second)), None)
        for names in (_FOLDS, _KINDS, _GROUPS)
    )
    others = [k for k in range(len(header)) if k not in (first, second, fold, kind, group)]
    target = targets[0] if targets else None
    if target is None and len(others) == 1 and header[others[0]] not in _SCORES:
        found = {_word(row[others[0]]) for row in below if len(row) == len(header)}
        target = others[0] if found and found <= set(TARGETS) else None
    return Columns(first, second, target, fold, len(header), kind, group)


def targets_of(labels: Sequence[str]) -> list[int | None]:
    """Return the target of each label, 1 or 0; `None` for one that is not understood.

    -1 is a negative pair where all labels are 1 or -1.
    """
    words = list(map(_word, labels))
    targets = {**TARGETS, "-1": 0} if set(words) <= {"1", "-1"} else TARGETS
    return [targets.get(word) for word in words]


def without_empty_columns(records: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Drop columns at the end that are empty in every row, as spreadsheets write them."""
    width = max((k + 1 for _, fields in records for k, field in enumerate(fields) if field), default=0)
    return [(number, fields[:width]) for number, fields in records]


def _word(text: str) -> str:
    """A name or label in lower case without spaces, hyphens and underscores; a number such as 1,0 as 1."""
    lower = text.strip().lower()
    if _NUMBER.fullmatch(lower):
        return f"{float(lower.replace(',', '.')):g}"
    return re.sub(r"[\s_.-]", "", lower)


def _are_words(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Whether rows have words as labels in a column, for images that do not look like files or numbers."""
    labelled = [row for row in rows if len(row) > column and TARGETS.get(_word(row[column])) is not None]
    return any(
        _word(row[column]).isalpha() and not any(name.isdecimal() or _FILE.fullmatch(name) for name in row[:2])
        for row in labelled
    )


def _label_columns(header: Sequence[str]) -> list[int]:
    """The columns of labels by their names; a verdict beside a score is not a label."""
    for names in _LABELS:
        found = [k for k, name in enumerate(header) if name in names]
        if found:
            return [] if names is _LABELS[1] and _SCORES & set(header) else found
    return []


def _side_columns(header: Sequence[str], *, bare: bool) -> tuple[int, int] | None:
    """The two columns of images by their names; `bare` allows names such as `a` and `b`, which may be images, too."""
    for nouns in (_FILE_NOUNS, _IMAGE_NOUNS, ("",)):  # beside path1 and path2 there may be id1 and id2
        for sides in _SIDES:
            one, other = (
                [k for k, name in enumerate(header) if _has_side(name, side, bare) and any(n in name for n in nouns)]
                for side in sides
            )
            if len(one) == len(other) == 1:
                return one[0], other[0]
    for sides in _SIDES_BY_NAME:
        if all(header.count(side) == 1 for side in sides):
            return header.index(sides[0]), header.index(sides[1])
    return None


def _has_side(name: str, side: str, bare: bool) -> bool:
    return re.fullmatch(f"{_NOUN}{side}{_NOUN}", name) is not None and (bare or len(side) > 1 or name != side)
