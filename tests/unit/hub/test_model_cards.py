from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from markdown_it import MarkdownIt
from PIL import Image
from sealed_files import edit
from trained_run import keep, section, ten_classes

from pairsim import EmbeddingNet, SimilarityModel, VerificationReport, calibrate, evaluate
from pairsim.data import ImageTensors
from pairsim.errors import RunError
from pairsim.hub.model_cards import model_card, write_card
from pairsim.models import OperatingPoint
from pairsim.runs.run_records import read_run


@pytest.fixture(scope="module")
def images() -> ImageTensors:
    return ten_classes()


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "my-run"))


@pytest.fixture
def report(run: Path, images: ImageTensors) -> VerificationReport:
    return evaluate(SimilarityModel.from_pretrained(run), images)


def html_of(card: str) -> str:
    body = card.split("---\n", 2)[2]
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(body))


def cells(card: str, heading: str) -> dict[str, list[str]]:
    """The rows of a section's table by their first cell, read from the rendered page."""
    page = html_of(f"---\n---\n{section(card, heading)}")
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    found = [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)] for row in rows]
    return {row[0]: row[1:] for row in found if row}


def test_figures_are_those_of_the_report(run: Path, report: VerificationReport) -> None:
    keep(run, report)
    rows = cells(model_card(run), "Evaluation")
    for label, key in (("ROC AUC", "roc_auc"), ("Equal error rate", "eer"), ("Average precision", "average_precision")):
        assert rows[label][0] == f"{getattr(report, key):.3%}"
    low, high = report.intervals["eer"]
    assert rows["Equal error rate"][1] == f"{low:.3%} to {high:.3%}"
    assert rows["Brier score"] == [f"{report.brier:.4f}", "not measured"]
    assert math.isnan(report.fnmr_at_fmr["0.0001"])
    assert rows["FNMR at FMR 0.01%"][0] == "not measurable with these pairs"
    text = section(model_card(run), "Evaluation")
    assert f"On the test split of faces: all pairs of 120 images, {120 * 119 // 2:,} pairs" in text
    assert f"Of these pairs {report.num_positive / report.num_pairs:.3%} are positive" in text


def test_a_given_report_is_shown_instead(run: Path, report: VerificationReport) -> None:
    keep(run, report)
    other = dataclasses.replace(report, eer=0.4321, intervals={})
    card = model_card(run, report=other)
    assert cells(card, "Evaluation")["Equal error rate"] == ["43.210%", "not measured"]
    assert "data not recorded" in section(card, "Evaluation")


def test_front_matter_is_what_the_hub_reads(run: Path, report: VerificationReport) -> None:
    keep(run, report)
    data = ModelCard(model_card(run)).data
    assert isinstance(data, ModelCardData)
    assert (data.library_name, data.pipeline_tag) == ("pairsim", "image-feature-extraction")
    assert data.tags is not None
    assert data.tags[0] == "pairsim"
    assert data.license is None
    assert data.model_name == "my-run"
    assert data.eval_results is not None
    assert all(isinstance(result, EvalResult) for result in data.eval_results)
    values = {result.metric_type: result.metric_value for result in data.eval_results}
    assert values["equal_error_rate"] == pytest.approx(report.eer, abs=1e-6)
    assert values["roc_auc"] == pytest.approx(report.roc_auc, abs=1e-6)
    assert {(result.dataset_name, result.dataset_split) for result in data.eval_results} == {("faces", "test")}
    assert data.metrics == list(values)


def test_nothing_is_invented(tiny_run: Path) -> None:
    card = model_card(tiny_run)
    assert "model-index" not in card
    assert section(card, "Evaluation").strip().startswith("Not measured.")
    assert "Not calibrated." in section(card, "Probabilities")
    assert "It was not evaluated" in section(card, "Limits")
    assert ModelCard(card).data.get("metrics") is None


def test_a_model_folder_alone(run: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(run / "model", tmp_path / "alone"))
    card = model_card(alone)
    assert "# alone\n" in card
    assert "Not recorded: this is a model folder without its run." in section(card, "Training")
    assert cells(card, "Data")["Training data"] == ["data not recorded"]
    assert cells(card, "Data")["Images trained on"] == ["not recorded"]
    assert "How it was trained: not recorded." in card
    assert "python" not in section(card, "Environment and how to reproduce").lower()
    assert model_card(run / "model") == model_card(run)  # of a model inside a run, the run is read


def test_run_facts(run: Path) -> None:
    card = model_card(run)
    rows = cells(card, "Training")
    records = read_run(run)
    best = [record for record in records.epochs if record["best"]][-1]
    assert rows["Epochs"] == ["2 of 2"]
    assert rows["Epoch kept"] == [str(best["epoch"])]
    assert rows["Validation: loss"] == [f"{best['val_loss']:.4f}"]
    assert (rows["Seed"], rows["Precision"], rows["Objective"]) == (["7"], ["fp32"], ["all-pairs"])
    data = cells(card, "Data")
    fingerprint = json.loads((run / "run.json").read_text())["data"]
    assert data["Images trained on"] == [str(fingerprint["num_images"])]
    assert data["Images kept for validation"] == [str(fingerprint["num_val_images"])]
    assert json.loads((run / "model/config.json").read_text())["weights_sha256"] in card
    assert f"torch {importlib.metadata.version('torch')}" in card


def test_threshold_and_calibration(run: Path, images: ImageTensors) -> None:
    model = SimilarityModel.from_pretrained(run)
    calibrate(model, images, target_fmr=0.1, prior=0.02, source="test images of /home/jane doe/secret-place/faces")
    model.save_pretrained(run / "model")
    point = model.operating_point
    assert point is not None
    assert point.fmr_interval is not None
    card = model_card(run)
    rows = cells(card, "Threshold")
    assert rows["Threshold on similarity"][0] == f"{point.threshold:.4f}"
    assert rows["Chosen for"][0] == "FMR of at most 0.1"
    assert rows["Chosen on"][0] == "test images of faces"
    low, high = point.fmr_interval
    assert rows["False match rate (FMR)"] == [f"{point.fmr:.3%}", f"{low:.3%} to {high:.3%}"]
    assert cells(card, "Probabilities")["Valid for"] == ["2.000% of pairs positive"]
    assert "hold where 2.000% of pairs are positive" in section(card, "Limits")
    keep(run, evaluate(model, images))
    assert "chosen on the images under Evaluation" in section(model_card(run), "Limits")


def test_figures_of_other_weights_are_not_shown(run: Path, report: VerificationReport, images: ImageTensors) -> None:
    keep(run, report)
    model = SimilarityModel.from_pretrained(run)
    calibrate(model, images, target_fmr=0.1)
    model.save_pretrained(run / "model")
    assert "was changed after this evaluation" in section(model_card(run), "Evaluation")
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    model.save_pretrained(run / "model")
    card = model_card(run)
    assert section(card, "Evaluation").strip().startswith("Not measured: the stored evaluation is of other weights.")
    assert f"{report.roc_auc:.3%}" not in card
    assert "model-index" not in card


def test_names_stay_text_and_paths_stay_private(run: Path, report: VerificationReport) -> None:
    keep(run, report)
    config = json.loads((run / "config.json").read_text())
    config["augment"] = "Paste(folder='/home/jane doe/secret-place/textures')"
    edit(run / "config.json", **config)
    card = model_card(run, title="<b>Mine</b> --- *x*\n# y")
    page = html_of(card)
    assert "<script" not in page
    assert "<a href" not in page
    assert "<h1>&lt;b&gt;Mine&lt;/b&gt; --- *x* # y</h1>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, a|b, *star*, `code`, [x](http://y), 5" in page
    for secret in ("secret-place", "/home", "jane", str(run.parent)):
        assert secret not in card
    assert ModelCard(card).data.get("model_name") == "<b>Mine</b> --- *x* # y"


def test_the_code_runs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = run / "model"
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((9, 11), 7, dtype=np.uint8)).save(place / name)
    code = re.findall(r"```python\n(.*?)\n```", write_card(run).read_text(), re.DOTALL)
    assert len(code) == 1
    with contextlib.chdir(place):
        exec(code[0], {})
    match, similarity = capsys.readouterr().out.split()[:2]
    assert match == "True"
    assert float(similarity) == pytest.approx(1.0, abs=1e-6)
    assert 'from_hub("me/faces")' in model_card(run, repo_id="me/faces")


def test_a_net_of_your_own_is_named(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(4))
    net(torch.zeros(1, 1, 28, 28))
    SimilarityModel(net).save_pretrained(tmp_path / "m")
    card = model_card(tmp_path / "m")
    assert "torch.nn.modules.container.Sequential maps an image to an embedding." in card
    assert 'from_pretrained(".", embedding_net=net)' in card


def test_a_run_from_python_shows_its_settings(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["objective"] = "my_losses.triplet"
    edit(run / "config.json", **config)
    text = section(model_card(run), "Environment and how to reproduce")
    assert "pairsim train" not in text
    assert "objective='my_losses.triplet', epochs=2, batch_size=32" in text


NETS: dict[str, tuple[dict[str, Any], str]] = {
    "reference": ({}, "The reference network"),
    "torchvision": ({"backbone": "resnet18"}, "resnet18"),
    "timm": ({"backbone": "timm/resnet10t"}, "timm/resnet10t"),
    "own backbone": ({"backbone": "my_nets.Net"}, "my_nets.Net"),
    "own net": ({"embedding_net": "my_nets.Net"}, "my_nets.Net"),
}


def rewrite(file: Path, **changes: Any) -> None:
    edit(file, **changes)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("weights", ["not recorded", None, "pretrained", "/home/jane doe/w.pth"])
@pytest.mark.parametrize("made_by", ["command line", "several processes", "Python"])
def test_how_each_kind_of_run_was_made(run: Path, net: str, weights: str | None, made_by: str) -> None:
    change, name = NETS[net]
    named, own = net in ("torchvision", "timm"), net.startswith("own")
    rewrite(run / "model/config.json", architecture={"embedding_dim": 8, **change} if net != "own net" else change)
    if made_by == "several processes":
        environment = json.loads((run / "run.json").read_text())["environment"]
        rewrite(run / "run.json", environment={**environment, "num_processes": 2})
    if made_by == "Python":
        (run / "data.json").unlink()
    elif weights != "not recorded" and named:
        rewrite(run / "data.json", weights=weights)

    card = model_card(run)
    assert f"{name} maps an image to an embedding{'' if net == 'own net' else ' of 8 numbers'}." in html_of(card)
    usage = section(card, "How to use")
    assert ("net = ...  # build the net" in usage, "embedding_net=net" in usage) == (own, own)
    assert ("pip install 'pairsim[timm]'" in usage) == (net == "timm")
    assert ("pip install 'pairsim[hub,timm]'" in model_card(run, repo_id="me/faces")) == (net == "timm")

    made = section(card, "Environment and how to reproduce")
    by_command, known = made_by != "Python" and not own, made_by != "Python" and weights != "not recorded"
    assert ("pairsim train faces --out RUN" in made) == by_command
    assert ("does not record a command that trains it again" in made) == (not by_command)
    assert ("torchrun --nproc-per-node 2 -m pairsim train" in made) == (by_command and made_by == "several processes")
    assert ("threads and processes give" in made) == (by_command and made_by == "several processes")
    assert (f"--backbone {name}" in made) == (by_command and named)
    assert ("which weights the backbone began with" in made) == (by_command and named and not known)
    given = {"pretrained": "pretrained", "/home/jane doe/w.pth": "w.pth"}.get(str(weights))
    found = re.search(r"--weights ([\w.]+)", made)
    assert (found and found[1]) == (given if by_command and named and known else None)
    shown = (given or "random") if known else "not recorded"
    assert cells(card, "Training").get("Weights at the start") == ([shown] if named else None)
    assert "jane" not in card


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("calibrated", [False, True])
def test_what_was_measured_of_each_kind_of_run(
    run: Path, images: ImageTensors, net: str, evaluated: bool, calibrated: bool
) -> None:
    model = SimilarityModel.from_pretrained(run)
    if calibrated:
        calibrate(model, images, target_fmr=0.1, source="validation images of faces")
    else:
        model.operating_point = OperatingPoint(0.4, 0.1, 0.2, 30, 70, source="validation pairs")
    model.save_pretrained(run / "model")
    change, _ = NETS[net]
    rewrite(run / "model/config.json", architecture={"embedding_dim": 8, **change} if net != "own net" else change)
    if evaluated:
        keep(run, evaluate(model, images))
    card = model_card(run)
    assert ("Not measured." in section(card, "Evaluation")) == (not evaluated)
    assert ("It was not evaluated" in section(card, "Limits")) == (not evaluated)
    assert ("Not calibrated." in section(card, "Probabilities")) == (not calibrated)
    threshold = section(card, "Threshold")
    assert ("that the threshold was chosen on" in threshold) == calibrated
    assert ("that training chose the epoch by" in threshold) == (not calibrated)
    assert ("Chosen on" in cells(card, "Threshold")) == calibrated


def test_a_named_backbone_needs_no_net(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SimilarityModel(EmbeddingNet("mobilenet_v3_small", image_size=32)).save_pretrained(tmp_path / "m")
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((9, 11), 7, dtype=np.uint8)).save(tmp_path / "m" / name)
    (code,) = re.findall(r"```python\n(.*?)\n```", model_card(tmp_path / "m"), re.DOTALL)
    with contextlib.chdir(tmp_path / "m"):
        exec(code, {})
    assert capsys.readouterr().out.startswith("True ")


def test_a_run_without_validation_images(run: Path) -> None:
    described = json.loads((run / "run.json").read_text())
    del described["data"]["num_val_images"]
    edit(run / "run.json", **described)
    edit(run / "model/config.json", operating_point=None)
    card = model_card(run)
    assert cells(card, "Data")["Images kept for validation"] == ["0"]
    assert "Not chosen on data: the threshold is where the probability is 0.5, if there" in section(card, "Threshold")


@pytest.mark.parametrize(("fmr", "said"), [(1.0, "All of the pairs"), (0.0, "None of the pairs")])
def test_a_model_that_gives_one_decision(run: Path, fmr: float, said: str) -> None:
    model = SimilarityModel.from_pretrained(run)
    model.operating_point = OperatingPoint(0.4, fmr, 1.0 - fmr, 30, 70, source="validation pairs")
    model.save_pretrained(run / "model")
    assert f"{said} that its threshold was measured on match: it decides nothing." in section(model_card(run), "Limits")


def test_a_card_that_is_there_is_kept(run: Path, tmp_path: Path) -> None:
    path = write_card(run)
    assert path == run / "model" / "README.md"
    path.write_text("edited")
    with pytest.raises(RunError, match=r"README.md already exists and may have been edited\. Pass --overwrite"):
        write_card(run)
    assert path.read_text() == "edited"
    assert write_card(run, overwrite=True).read_text() == model_card(run)
    assert write_card(run, out=tmp_path / "deep" / "card.md").read_text() == model_card(run)
    assert SimilarityModel.from_pretrained(run).device.type == "cpu"  # a card does not disturb the model


def test_missing_figures_are_named(run: Path, report: VerificationReport) -> None:
    keep(run, report)
    path = run / "evaluation.json"
    edit(path, report={"eer": 0.25})
    rows = cells(model_card(run), "Evaluation")
    assert rows["Equal error rate"][0] == "25.000%"
    assert rows["ROC AUC"] == ["not measured", "not measured"]
    assert rows["FNMR at FMR 1.00%"][0] == "not measured"


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="Expected a model or run folder"):
        model_card(tmp_path / "none")
