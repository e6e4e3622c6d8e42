"""The verdicts on a list are those of `SimilarityModel.verify` on each pair."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_files import write_pictures
from small_models import small_model

import pairsim.verification.pair_verdicts
from pairsim import PairDataset, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.data.pairs.pair_files import write_pair_file
from pairsim.encoding.pictures import encode_pictures
from pairsim.errors import DataError, ImageReadError
from pairsim.models import OperatingPoint
from pairsim.verification.pair_verdicts import verify_pairs

NAMES = ["=a.png", "-b.png", '@c "x",y.png', "+d.png", "sub/ü e.png"]
PAIRS = [(NAMES[a], NAMES[b]) for a, b in ((0, 1), (1, 0), (2, 2), (3, 4), (4, 2), (0, 3), (0, 1))]
TARGETS = [0, 0, 1, 0, 1, 1, 0]
THRESHOLD = 0.97


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    made = small_model(12)
    made.operating_point = OperatingPoint(THRESHOLD, 0.0125, 0.0, 1, 80, "a test")
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_pictures(folder, NAMES, (12, 12))
    return folder


def write(path: Path, rows: list[Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def with_targets(rows: list[tuple[str, str]]) -> list[tuple[str, str, int]]:
    return [(*pair, target) for pair, target in zip(rows, TARGETS, strict=True)]


def check(verdicts: pairsim.verification.pair_verdicts.PairVerdicts, model: SimilarityModel, place: Path) -> None:
    for k, (first, second) in enumerate(PAIRS):
        one = model.verify(place / first, place / second)
        assert verdicts.similarity[k] == pytest.approx(one.similarity, abs=1e-6)
        assert verdicts.probability[k] == pytest.approx(one.probability, abs=1e-5)
        assert verdicts.match[k] == one.match
    assert set(verdicts.match.tolist()) == {True, False}
    assert (verdicts.threshold, verdicts.fmr) == (THRESHOLD, 0.0125)


@pytest.mark.parametrize("header", [[], [("first", "second")], [("Path1", "path2")]])
def test_a_file_without_targets(model: SimilarityModel, place: Path, header: list[Any]) -> None:
    verdicts = verify_pairs(model, write(place / "pairs.csv", [*header, *PAIRS]))
    check(verdicts, model, place)
    assert list(zip(verdicts.first, verdicts.second, strict=True)) == PAIRS
    assert (verdicts.target, verdicts.correct, verdicts.accuracy) == (None, None, None)
    assert len(verdicts) == len(PAIRS)


@pytest.mark.parametrize("header", [[], [("first", "second", "target")]])
def test_a_file_with_targets(model: SimilarityModel, place: Path, tmp_path: Path, header: list[Any]) -> None:
    file = write(tmp_path / "pairs.csv", [*header, *with_targets(PAIRS)])
    verdicts = verify_pairs(model, file, root=place)
    check(verdicts, model, place)
    assert verdicts.target is not None
    assert verdicts.target.tolist() == TARGETS
    right = [bool(match) == bool(target) for match, target in zip(verdicts.match, TARGETS, strict=True)]
    assert verdicts.correct is not None
    assert verdicts.correct.tolist() == right
    assert verdicts.accuracy == pytest.approx(sum(right) / len(right))


def test_frozen_lists_are_read_too(model: SimilarityModel, place: Path) -> None:
    file = place / "frozen.csv"
    write_pair_file(file, [a for a, _ in PAIRS], [b for _, b in PAIRS], TARGETS)
    verdicts = verify_pairs(model, file)
    check(verdicts, model, place)
    assert verdicts.target is not None
    file.write_text(file.read_text(encoding="utf-8").replace(",1\n", ",0\n", 1), encoding="utf-8")
    with pytest.raises(DataError, match="It was changed"):
        verify_pairs(model, file)


def test_sequences_of_paths(model: SimilarityModel, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(verify_pairs(model, [(place / a, str(place / b)) for a, b in PAIRS]), model, place)
    verdicts = verify_pairs(model, with_targets(PAIRS), root=place)
    check(verdicts, model, place)
    assert verdicts.target is not None
    monkeypatch.chdir(place)
    check(verify_pairs(model, PAIRS), model, place)


def test_each_picture_is_read_once(model: SimilarityModel, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def counted(model: SimilarityModel, pictures: list[str], **options: Any) -> Any:
        given.extend(pictures)
        return encode_pictures(model, pictures, **options)

    monkeypatch.setattr(pairsim.verification.pair_verdicts, "encode_pictures", counted)
    verify_pairs(model, PAIRS, root=place)
    assert sorted(given) == sorted(str(place / name) for name in NAMES)


def test_another_threshold(place: Path, model: SimilarityModel) -> None:
    verdicts = verify_pairs(model, PAIRS, root=place, threshold=0.5)
    assert (verdicts.threshold, verdicts.fmr) == (0.5, None)
    assert verdicts.match.tolist() == (verdicts.similarity >= 0.5).tolist()


def test_table(model: SimilarityModel, place: Path, tmp_path: Path) -> None:
    verdicts = verify_pairs(model, with_targets(PAIRS), root=place)
    verdicts.to_csv(tmp_path / "new" / "verdicts.csv")
    with (tmp_path / "new" / "verdicts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ["first", "second", "similarity", "probability", "match", "threshold", "fmr", "target", "correct"]
    assert list(rows[0]) == columns
    assert [(row["first"], row["second"]) for row in rows] == PAIRS
    assert [float(row["similarity"]) for row in rows] == verdicts.similarity.tolist()
    assert [float(row["probability"]) for row in rows] == verdicts.probability.tolist()
    for row, target in zip(rows, TARGETS, strict=True):
        assert (row["match"] == "1") == (float(row["similarity"]) >= float(row["threshold"]))
        assert (row["target"], row["fmr"]) == (str(target), "0.0125")
        assert row["correct"] == str(int(row["match"] == row["target"]))

    plain = verify_pairs(model, PAIRS, root=place, threshold=0.5)
    plain.to_csv(tmp_path / "plain.csv")
    with (tmp_path / "plain.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == columns[:7]
    assert rows[0]["fmr"] == ""


def test_json_and_text(model: SimilarityModel, place: Path) -> None:
    verdicts = verify_pairs(model, with_targets(PAIRS), root=place)
    values = json.loads(json.dumps(verdicts.to_dict(), allow_nan=False))
    assert values["num_pairs"] == 7
    assert values["num_matches"] == int(verdicts.match.sum())
    assert values["accuracy"] == verdicts.accuracy
    assert set(values["pairs"][0]) == {"first", "second", "similarity", "probability", "match", "target", "correct"}
    assert [pair["match"] for pair in values["pairs"]] == verdicts.match.tolist()

    matches = verdicts.match.tolist()
    false_matches = sum(match and not target for match, target in zip(matches, TARGETS, strict=True))
    missed = sum(not match and target for match, target in zip(matches, TARGETS, strict=True))
    first, second = str(verdicts).splitlines()
    assert first.startswith("7 pairs at threshold 0.9700, where 1.25% of different held-out pairs match: ")
    assert second.endswith(f"{false_matches} of 4 different pairs match, {missed} of 3 same pairs do not")


def test_pictures_that_cannot_be_read(model: SimilarityModel, place: Path) -> None:
    (place / "bad.txt.png").write_text("no picture")
    pairs = [PAIRS[0], (NAMES[0], "bad.txt.png"), PAIRS[3], ("absent.png", "bad.txt.png")]
    with pytest.raises(ImageReadError, match=r"bad\.txt\.png|absent\.png"):
        verify_pairs(model, pairs, root=place)
    verdicts = verify_pairs(model, pairs, root=place, on_error="skip")
    assert list(zip(verdicts.first, verdicts.second, strict=True)) == [PAIRS[0], PAIRS[3]]
    expected = [model.verify(place / a, place / b).similarity for a, b in (PAIRS[0], PAIRS[3])]
    assert verdicts.similarity.tolist() == pytest.approx(expected, abs=1e-6)
    assert [(one.name, one.index) for one in verdicts.skipped] == [("bad.txt.png", 1), ("absent.png", 3)]
    assert verdicts.num_skipped == 2
    assert "2 pairs skipped, as 2 pictures cannot be read, such as bad.txt.png: Expected" in str(verdicts)
    assert [one["file"] for one in verdicts.to_dict()["skipped"]] == ["bad.txt.png", "absent.png"]
    with pytest.raises(DataError, match="can be read"):
        verify_pairs(model, pairs[3:], root=place, on_error="skip")


def test_no_pairs(model: SimilarityModel, tmp_path: Path) -> None:
    verdicts = verify_pairs(model, [])
    assert (len(verdicts), verdicts.accuracy, verdicts.target) == (0, None, None)
    verdicts.to_csv(tmp_path / "empty.csv")
    assert (tmp_path / "empty.csv").read_text() == "first,second,similarity,probability,match,threshold,fmr\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "to list pairs as first,second or first,second,target, found none."),
        ("first,second\n", "to list pairs as first,second or first,second,target, found none."),
        ("# made by hand\nfirst,second\na,b\na\n", "Expected line 4 of"),
        ("a,b\nc,d,1\n", "Expected line 2 of"),
        ("a,b,1\nc,d\n", "Expected line 2 of"),
        ("a,b,maybe,1\n", "Expected line 1 of"),
    ],
)
def test_files_that_are_no_list(model: SimilarityModel, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(DataError) as error:
        verify_pairs(model, tmp_path / "pairs.csv")
    assert said in str(error.value)


def test_a_missing_file(model: SimilarityModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected a readable list of pairs"):
        verify_pairs(model, tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("pairs", "error", "said"),
    [
        ([("a", 3)], TypeError, "Expected pairs of paths, with or without a target, got str, int as number 0. Give [("),
        ([("a", "b"), "cd"], TypeError, "got str as number 1."),
        ([3], TypeError, "got int as number 0."),
        ([("a",) * 400], TypeError, "got 400 values as number 0."),
        (PairDataset(ImageTensors(torch.zeros(4, 8, 8, dtype=torch.uint8), [0, 0, 1, 1])), TypeError, "got Tensor, Te"),
        ([("a", "b", 2)], ValueError, "Expected targets 1 (same) or 0 (different), got 2 in pair 0."),
        ([("a", "b", 1), ("a", "b")], ValueError, "Expected a target in every pair or in none, found both."),
    ],
)
def test_sequences_that_are_no_list(model: SimilarityModel, pairs: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        verify_pairs(model, pairs)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_thresholds_that_are_none(model: SimilarityModel) -> None:
    with pytest.raises(ValueError, match=r"Expected threshold to be a similarity in \[-1, 1\], got nan"):
        verify_pairs(model, [], threshold=float("nan"))
    falling = SimilarityModel(model.embedding_net)
    with torch.no_grad():
        falling.projection.weight.fill_(-1.0)
    with pytest.raises(ValueError, match=r"its projection has none\. Pass threshold="):
        verify_pairs(falling, [])


def test_a_damaged_model(place: Path) -> None:
    torch.manual_seed(0)
    broken = small_model(12)
    with torch.no_grad():
        next(broken.embedding_net.parameters()).fill_(float("nan"))
    with pytest.raises(
        ValueError, match=r"Expected finite weights of the model, found NaN or infinity in embedding_net\.conv"
    ):
        verify_pairs(broken, PAIRS, root=place)
