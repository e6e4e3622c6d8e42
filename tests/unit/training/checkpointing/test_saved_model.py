"""A run that is asked for again keeps its model, and another run does not replace it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import backbone_model, colour_images, easy_images, fit, reference_model

from pairsim import SimilarityModel, TrainConfig, Trainer, adapt, calibrate
from pairsim.data import ImageTensors
from pairsim.errors import RunError
from pairsim.models import EmbeddingNet
from pairsim.training.adaptation.adaptation_result import Adaptation
from pairsim.training.adaptation.head_choice import HeadChoiceName
from pairsim.training.checkpointing.saved_model import check_same_net, is_saved, saved_config


def files_of(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def of_model(run: Path) -> dict[str, bytes]:
    return {name: content for name, content in files_of(run).items() if name.startswith(("model", "best_model"))}


def coloured() -> ImageTensors:
    """Images of 3 classes that differ in brightness."""
    images = colour_images()
    return ImageTensors(
        (images.images // 4 + 60 * torch.from_numpy(images.targets).view(-1, 1, 1, 1)).to(torch.uint8), images.targets
    )


def frozen(run: Path, model: SimilarityModel | None = None, head: HeadChoiceName = "none") -> Adaptation:
    config = TrainConfig(out=run, precision="fp32", device="cpu", progress=False, freeze="backbone")
    return adapt(model or backbone_model(), config, train=coloured(), val=coloured(), head=head)


def test_the_saved_model_is_known_by_weights_and_preprocessing(tmp_path: Path) -> None:
    assert saved_config(tmp_path) is None
    model = fit(easy_images(), out=tmp_path, epochs=1).model
    config = saved_config(tmp_path)
    assert config is not None
    assert is_saved(tmp_path, config, model)
    check_same_net(tmp_path, config, model, has_epochs=False)
    assert not is_saved(tmp_path, config, reference_model())
    with torch.no_grad():
        model.projection.weight += 1
    assert not is_saved(tmp_path, config, model)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    assert saved_config(tmp_path) is None


def test_a_finished_run_that_is_asked_for_again_keeps_its_calibration(tmp_path: Path) -> None:
    images = easy_images()
    model = fit(images, out=tmp_path, epochs=2).model
    fitted = calibrate(model, images, target_fmr=0.3)
    model.save_pretrained(tmp_path / "model")
    before = of_model(tmp_path)
    again = fit(images, out=tmp_path, epochs=2).model
    assert of_model(tmp_path) == before
    assert again.calibration == fitted
    assert again.threshold == model.threshold


def test_a_damaged_model_of_a_finished_run_is_written_again(tmp_path: Path) -> None:
    fit(easy_images(), out=tmp_path, epochs=1)
    before = of_model(tmp_path)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"damaged")
    (tmp_path / "best_model.pt").unlink()
    fit(easy_images(), out=tmp_path, epochs=1)
    assert of_model(tmp_path).keys() == before.keys()
    assert of_model(tmp_path)["model/model.safetensors"] == before["model/model.safetensors"]


def test_a_frozen_run_that_is_asked_for_again_keeps_its_calibration(tmp_path: Path) -> None:
    model, again = backbone_model(), backbone_model()
    frozen(tmp_path, model)
    fitted = calibrate(model, coloured(), target_fmr=0.3)
    model.save_pretrained(tmp_path / "model")
    before = of_model(tmp_path)
    frozen(tmp_path, again)
    assert of_model(tmp_path) == before
    assert again.calibration == fitted


def test_a_frozen_net_does_not_replace_a_finished_run(tmp_path: Path) -> None:
    fit(easy_images(), out=tmp_path, epochs=1)
    before = files_of(tmp_path)
    with pytest.raises(RunError, match=r"found changes: .*freeze 'none' -> 'backbone'.*--resume never\."):
        frozen(tmp_path)
    assert {name: content for name, content in files_of(tmp_path).items() if "features" not in name} == before
    Trainer(reference_model(), TrainConfig(out=tmp_path, epochs=9), train=easy_images()).save_current("never")
    assert not (tmp_path / "checkpoints").exists()


def test_training_does_not_replace_a_frozen_net(tmp_path: Path) -> None:
    frozen(tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(RunError, match=r"found changes: .*freeze 'backbone' -> 'none'"):
        fit(coloured(), coloured(), backbone_model(), out=tmp_path)
    assert files_of(tmp_path) == before


def other_weights() -> SimilarityModel:
    model = backbone_model()
    net = model.embedding_net
    assert isinstance(net, EmbeddingNet)
    assert net.backbone is not None
    with torch.no_grad():
        next(net.backbone.parameters()).add_(1)
    return model


def test_another_frozen_net_does_not_replace_one(tmp_path: Path) -> None:
    frozen(tmp_path)
    before = files_of(tmp_path)
    said = r"^Expected the model that .* was started with, found another {}\. Restore it, .*--resume never\.$"
    with pytest.raises(RunError, match=said.format("net or head")):
        frozen(tmp_path, head="whiten")
    with pytest.raises(RunError, match=said.format("weights of the backbone")):
        frozen(tmp_path, other_weights())
    now = files_of(tmp_path)
    assert {name: now[name] for name in before if "features" not in name} == {
        name: content for name, content in before.items() if "features" not in name
    }


def test_a_run_with_epochs_is_not_one_of_a_frozen_net(tmp_path: Path) -> None:
    def trainer() -> Trainer:
        return Trainer(reference_model(), TrainConfig(out=tmp_path, epochs=1), train=easy_images())

    trainer().fit()
    with pytest.raises(RunError, match="to hold a run without epochs, found one with checkpoints"):
        trainer().save_current()
