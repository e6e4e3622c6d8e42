"""Any bytes are a list of pairs, or an error of one line; what is written is read back."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairsim.data.pairs.pair_files import read_folds, read_numbered_pairs, read_table, write_pair_file

FIELDS = st.one_of(
    st.sampled_from(["1", "0", "-1", "same", "label", "path1", "path2", "a.png", "3", "", '"', "# x", "sep=;"]),
    st.text(max_size=6),
)
ROWS = st.lists(st.lists(FIELDS, min_size=0, max_size=6), max_size=6)


@pytest.mark.slow
@settings(deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=ROWS,
    separator=st.sampled_from([",", ";", "\t", "|", " "]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]),
    more=st.binary(max_size=8),
)
def test_any_text_is_a_list_or_an_error(
    tmp_path: Path, rows: list[list[str]], separator: str, end: str, encoding: str, more: bytes
) -> None:
    file = tmp_path / "pairs.csv"
    text = end.join(separator.join(row) for row in rows)
    file.write_bytes(text.encode(encoding, errors="replace") + more)
    for read in (read_table, read_folds, read_numbered_pairs):
        with contextlib.suppress(ValueError):  # DataError among them
            read(file)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@pytest.mark.slow
@settings(deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(st.tuples(NAMES, NAMES, st.booleans(), st.integers(0, 9)), min_size=1, max_size=5),
    folds=st.booleans(),
)
def test_what_is_written_is_read_back(tmp_path: Path, pairs: list[tuple[str, str, bool, int]], folds: bool) -> None:
    first, second, target, fold = (list(column) for column in zip(*pairs, strict=True))
    file = tmp_path / "pairs.csv"
    file.unlink(missing_ok=True)
    with contextlib.suppress(ValueError):  # names that would not come back are not written
        write_pair_file(file, first, second, target, fold if folds else None)
    if not file.exists():
        assert any(name.strip().splitlines() != [name] or "\0" in name for name in (*first, *second))
        return
    table = read_table(file)
    assert table.rows == [(a, b, int(t)) for a, b, t, _ in pairs]
    assert (table.folds, table.frozen) == (fold if folds else None, True)
