from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from exported import Random, isotonic, pixels, small_model

from pairsim import SimilarityModel
from pairsim._common import storage
from pairsim.errors import ExportError, RunError
from pairsim.export import ProgramExport, export_program, load_program


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    return small_model(calibration=isotonic())


@pytest.fixture(scope="module")
def pair(model: SimilarityModel, tmp_path_factory: pytest.TempPathFactory) -> ProgramExport:
    return export_program(model, tmp_path_factory.mktemp("programs") / "pair.pt2", kind="pair")


@pytest.mark.parametrize("number", [1, 2, 7])
def test_pairs(model: SimilarityModel, pair: ProgramExport, number: int) -> None:
    program = load_program(pair.path, sha256=pair.sha256)
    first, second = pixels(number), pixels(number, seed=1)
    similarity, probability = program(first, second)
    expected = (model.encode(first) * model.encode(second)).sum(dim=1)
    torch.testing.assert_close(similarity, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(probability, model.probability(similarity), rtol=0, atol=1e-6)
    assert program.description == pair.description
    assert program.description.calibration == model.calibration


def test_embeddings(model: SimilarityModel, tmp_path: Path) -> None:
    export = export_program(model, tmp_path / "embed.pt2")
    program = load_program(export.path, sha256=export.sha256.upper())
    found = program(pixels(3))
    assert not found.requires_grad
    torch.testing.assert_close(found, model.encode(pixels(3)), rtol=0, atol=1e-5)
    assert export.max_difference < 1e-5
    assert "images to embeddings" in str(export)
    with pytest.raises(ValueError, match="Expected images, got 2 batches of images"):
        program(pixels(3), pixels(3))


def test_the_graph_runs_with_pytorch_alone(model: SimilarityModel, pair: ProgramExport) -> None:
    extra = {"pairsim.json": ""}
    graph = torch.export.load(pair.path, extra_files=extra)
    assert json.loads(extra["pairsim.json"])["kind"] == "pair"
    assert "pairsim/" not in str(graph.graph_module.code)
    with zipfile.ZipFile(pair.path) as archive:
        stored = next(name for name in archive.namelist() if name.endswith("models/model.json"))
        assert b"graphs.py" not in archive.read(stored)
    similarity, _ = graph.module()(pixels(2), pixels(2))
    torch.testing.assert_close(similarity, torch.ones(2), rtol=0, atol=1e-5)


def test_another_checksum_keeps_pytorch_from_seeing_the_file(
    pair: ProgramExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pair.sha256 == storage.sha256(pair.path.read_bytes())
    content = bytearray(pair.path.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.pt2").write_bytes(content)
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(RunError, match=r"flipped\.pt2 to have SHA-256 .*damaged or another file\. It was not loaded"):
        load_program(tmp_path / "flipped.pt2", sha256=pair.sha256)


def test_files_that_are_not_pairsims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"Expected an archive at .*absent\.pt2, but: No such file"):
        load_program(tmp_path / "absent.pt2", sha256=None)
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(RunError, match=r"to be a torch\.export archive, but: File is not a zip file"):
        load_program(tmp_path / "text.pt2", sha256=None)
    foreign = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(2),)), foreign)
    (tmp_path / "foreign.pt2").write_bytes(foreign.getvalue())
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(RunError, match="to be a file that pairsim exported, found no description"):
        load_program(tmp_path / "foreign.pt2", sha256=None)


def test_an_archive_that_pytorch_cannot_read(pair: ProgramExport, tmp_path: Path) -> None:
    with zipfile.ZipFile(pair.path) as archive, zipfile.ZipFile(tmp_path / "part.pt2", "w") as part:
        name = next(name for name in archive.namelist() if name.endswith("extra/pairsim.json"))
        part.writestr(name, archive.read(name))
    with pytest.raises(RunError, match=r"to be readable by PyTorch .*Export the model again with this version"):
        load_program(tmp_path / "part.pt2", sha256=None)


def test_what_differs_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="found a difference of"):
        export_program(SimilarityModel(Random()), tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []
