from __future__ import annotations

import sys
from pathlib import Path

import pytest
from run_command import here


def test_doctor(tmp_path: Path) -> None:
    done = here("doctor", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.json["versions"]["torch"]
    assert here("doctor", cwd=tmp_path).status == 0


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairsim.cli.tools import doctor

    monkeypatch.setitem(doctor._OPTIONAL, "no_such_package", ("no-such-package", "viz", "figures"))
    text = here("doctor", cwd=tmp_path).out
    assert "  missing    no-such-package" in text
    assert "figures: pip install 'pairsim[viz]'" in text
    done = here("doctor", "--json", cwd=tmp_path)
    assert done.json["extras"]["no_such_package"] is False
    expected = "no-such-package is missing, so figures would fail. Fix: pip install 'pairsim[viz]'"
    assert expected in done.json["problems"]


def test_an_empty_folder_is_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    monkeypatch.setenv("PAIRSIM_DATA", str(tmp_path))
    assert here("doctor", "--json", cwd=tmp_path).json["datasets"]["fashion-mnist"] is False
    (raw / "train-images-idx3-ubyte.gz").touch()
    assert here("doctor", "--json", cwd=tmp_path).json["datasets"]["fashion-mnist"] is True


def test_another_version_of_torchvision_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert "! torchvision does not fit torch" in here("doctor", cwd=tmp_path).out


def test_pretrained_weights_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAIRSIM_DATA", "HF_HUB_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert f"pretrained weights: none in {tmp_path}/weights, {tmp_path}, " in here("doctor", cwd=tmp_path).out
    (tmp_path / "resnet18.pth").write_bytes(b"")
    (tmp_path / "resnet50-12345678.pth").write_bytes(b"damaged")
    done = here("doctor", "--json", cwd=tmp_path)
    assert done.json["weights"] == {"resnet18": str(tmp_path / "resnet18.pth")}
    assert any("resnet50-12345678.pth is damaged" in problem for problem in done.json["problems"])
    assert f"pretrained weights of resnet18: {tmp_path}/resnet18.pth" in here("doctor", cwd=tmp_path).out
