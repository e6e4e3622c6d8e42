from __future__ import annotations

from pathlib import Path

import pytest
import torch
from run_command import failure, here
from small_models import small_model

from pairsim.cli.arguments import check_out, load_model
from pairsim.cli.output import UsageError
from pairsim.errors import DeviceError, RunError


def test_check_out() -> None:
    assert check_out(Path("a/b.csv"), ".npz", ".csv") == ".csv"
    assert check_out(Path("B.NPZ"), ".npz", ".csv") == ".npz"
    for name in ("b", "b.txt", ".csv", "b.csv.gz"):
        with pytest.raises(UsageError, match=rf"^Expected --out to end in .npz or .csv, got {name}\.$"):
            check_out(Path("a", name), ".npz", ".csv")


def test_load_model(tmp_path: Path) -> None:
    model = small_model(12)
    model.save_pretrained(tmp_path / "model")
    loaded = load_model(tmp_path / "model", "cpu")
    images = torch.zeros(1, 1, 12, 12, dtype=torch.uint8)
    assert torch.equal(loaded.encode(images), model.encode(images))
    with pytest.raises(ValueError, match='Expected device to be "auto"'):
        load_model(tmp_path / "model", "gpu")
    with pytest.raises(DeviceError, match="cuda:99"):
        load_model(tmp_path / "model", "cuda:99")
    with pytest.raises(RunError, match="Expected a model or run folder"):
        load_model(tmp_path / "absent", "cpu")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("calibrate run digits --target-fmr 1.5", 'Invalid value "1.5" for --target-fmr. Must be < 1.'),
        ("calibrate run digits --target-fmr nan", 'Invalid value "nan" for --target-fmr.'),
        ("calibrate run digits --prior 0", 'Invalid value "0.0" for --prior. Must be > 0.'),
        ("identify run shop a.png --target-fpir 0", 'Invalid value "0.0" for --target-fpir. Must be > 0.'),
        ("gallery calibrate shop --run run --target-fpir 2", "Must be < 1. See: pairsim gallery calibrate --help."),
        ("gallery add shop a.png --run run --batch-size 0", 'Invalid value "0" for --batch-size. Must be >= 1.'),
        ("evaluate run digits --threshold 2", "for --threshold. Give a similarity in [-1, 1], such as 0.5."),
        ("identify run shop a.png --threshold nan", "for --threshold. Give a similarity in [-1, 1], such as 0.5."),
        ("train digits --out run --device foo", 'Expected --device to be "auto", "cpu", "cuda", "cuda:N" or "mps"'),
        ("train digits --out run --epochs 1.5", "Expected --epochs to be a whole number, got 1.5. See:"),
        ("search run shop a.png --top 1.5", "Expected --top to be a whole number, got 1.5. See:"),
        ("train digits --out run --embedding-dim 0", 'Invalid value "0" for --embedding-dim. Must be >= 1.'),
        ("train f --out run --pairs p.csv --turns", "Expected --objective pairs and no --turns with --pairs"),
        ("train f --out run --pairs p.csv --objective all-pairs", "Expected --objective pairs and no --turns with"),
        ("evaluate run digits --resamples 0", 'Invalid value "0" for --resamples. Must be >= 1.'),
        ("calibrate run digits --costs -1 1", "for --costs. Give two numbers of at least 0, one of them above 0."),
        ("calibrate run digits --costs 0 0", "for --costs. Give two numbers of at least 0, one of them above 0."),
        ("calibrate run digits --costs 1 nan", "for --costs. Give two numbers of at least 0, one of them above 0."),
        ("calibrate run digits --costs 1 1 --equal-errors", "Expected one of --target-fmr, --costs and --equal-errors"),
        ("compare run a.png b.png --device foo", 'for --device. Give "auto", "cpu", "cuda", "cuda:N" or "mps".'),
    ],
)
def test_values_out_of_range_are_wrong_usage(call: str, said: str, tmp_path: Path) -> None:
    assert said in failure(here(*call.split(), cwd=tmp_path), 2)
