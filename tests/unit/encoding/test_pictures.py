"""Folders and pictures of any kind are embedded in order, and the unreadable ones are listed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folder_trees import locked
from picture_files import write_pictures
from PIL import Image

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.encoding.pictures import EncodedPictures, Skipped, encode_pictures
from pairsim.errors import DataError, ImageReadError
from pairsim.images import PictureLike, Preprocessing, samples
from pairsim.models import inputs


@pytest.fixture
def folder(tmp_path: Path, digits: ImageTensors) -> Path:
    """120 pictures in two sub-folders, in the order of their names."""
    for number, image in enumerate(digits.images):
        path = tmp_path / "pictures" / "ab"[number // 60] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    return tmp_path / "pictures"


@pytest.fixture(params=[0.0, 1e9], ids=["in threads", "in the main thread"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """All pictures count as slow to read, or none."""
    monkeypatch.setattr(inputs, "QUICK_S", request.param)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    return bool(request.param == 0.0)


def names_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.png"))


@pytest.mark.usefixtures("threads")
def test_a_folder(model: SimilarityModel, digits: ImageTensors, folder: Path) -> None:
    model.train()
    expected = model.encode(digits.images)
    for make in (Path, str, names_of, lambda place: iter(names_of(place))):
        for batch_size in (None, 7, 500):
            found = encode_pictures(model, make(folder), batch_size=batch_size)
            torch.testing.assert_close(found.embeddings, expected, rtol=0, atol=1e-6)
            assert found.names == tuple(names_of(folder))
            assert found.indices.tolist() == list(range(120))
            assert found.skipped == ()
            assert found.seconds > 0
            assert 0 < found.decoding < 1
    assert model.training
    assert not found.embeddings.requires_grad
    assert not any(thread.name.startswith("pairsim-read") for thread in threading.enumerate())


def test_what_a_folder_has_besides_is_said(model: SimilarityModel, tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "pics", ["a.png", "shut/b.png"], (8, 8))
    (tmp_path / "pics" / "notes.txt").touch()
    encode_pictures(model, names)  # imports what it needs
    with locked(tmp_path / "pics" / "shut"):
        with pytest.raises(ImageReadError, match=r"read the folder .*shut, but permission was denied"):
            encode_pictures(model, tmp_path / "pics")
        found = encode_pictures(model, tmp_path / "pics", on_error="skip")
    assert found.names == (str(names[0]),)
    assert [(one.reason, one.files, one.folders) for one in found.left_out] == [
        ("files ending in .txt", 1, 0),
        ("folders that cannot be read", 0, 1),
    ]
    assert str(found).endswith("\n2 other files left out")


@pytest.mark.usefixtures("threads")
def test_what_cannot_be_read_is_skipped_and_listed(model: SimilarityModel, folder: Path) -> None:
    whole = encode_pictures(model, folder)
    assert torch.equal(whole.embeddings, model.encode(names_of(folder)))
    bad = [3, *range(64, 74), 119]
    for place in bad:
        Path(names_of(folder)[place]).write_text("no picture")
    found = encode_pictures(model, folder, on_error="skip", batch_size=16)
    good = [place for place in range(120) if place not in bad]
    assert found.indices.tolist() == good
    assert found.indices.dtype == np.int64
    assert found.names == tuple(names_of(folder)[place] for place in good)
    torch.testing.assert_close(found.embeddings, whole.embeddings[good], rtol=0, atol=1e-6)
    assert [one.index for one in found.skipped] == bad
    for one in found.skipped:
        assert one.name == names_of(folder)[one.index]
        assert one.reason.startswith(f"Expected {one.name} to be an image")
    last = str(found).splitlines()[-1]
    assert last.startswith(f"12 of 120 skipped as unreadable: {names_of(folder)[3]}, ")
    assert last.endswith(f"{names_of(folder)[72]} and 2 more")
    with pytest.raises(ImageReadError, match=r"a/003\.png to be an image"):
        encode_pictures(model, folder)
    assert not any(thread.name.startswith("pairsim-read") for thread in threading.enumerate())


def test_nothing_can_be_read(model: SimilarityModel, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(
        DataError, match=r"none of 2 can be read: .*a\.png, b\.png\. The first: Expected .*a\.png to be"
    ):
        encode_pictures(model, [tmp_path / "a.png", "b.png"], on_error="skip")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"Expected pictures in .*none, found none"):
        encode_pictures(model, tmp_path / "none")
    with pytest.raises(ImageReadError, match=r"absent\.png, found none"):
        encode_pictures(model, tmp_path / "absent.png")


def test_pictures_of_all_kinds(model: SimilarityModel, digits: ImageTensors, folder: Path) -> None:
    pixels = digits.images[5]
    array = pixels[0].numpy()
    several: list[Any] = [pixels, array, Image.fromarray(array), names_of(folder)[5], Path(names_of(folder)[5])]
    expected = model.encode(digits.images[5:6])
    found = encode_pictures(model, several)
    torch.testing.assert_close(found.embeddings, expected.expand(5, -1), rtol=0, atol=1e-6)
    assert found.names == (None, None, None, names_of(folder)[5], names_of(folder)[5])
    for one in several:
        torch.testing.assert_close(encode_pictures(model, one).embeddings, expected, rtol=0, atol=1e-6)
    whole = encode_pictures(model, digits.images)
    torch.testing.assert_close(whole.embeddings, model.encode(digits.images), rtol=0, atol=1e-6)
    assert (whole.names, whole.indices.tolist(), whole.decoding) == ((None,) * 120, list(range(120)), 0.0)
    torch.testing.assert_close(
        encode_pictures(model, digits.images.permute(0, 2, 3, 1).numpy()).embeddings,
        whole.embeddings,
        rtol=0,
        atol=1e-6,
    )
    nothing: list[Any] = [[], iter([])]
    for none in nothing:
        empty = encode_pictures(model, none)
        assert (empty.embeddings.shape, len(empty), empty.decoding) == ((0, expected.shape[1]), 0, 0.0)


@pytest.mark.usefixtures("threads")
def test_an_endless_generator_ends_with_its_failure(model: SimilarityModel, folder: Path) -> None:
    names = names_of(folder)
    monotonous = (names[7] if number != 200 else "absent.png" for number in range(10**9))
    with pytest.raises(ImageReadError, match=r"absent\.png, found none"):
        encode_pictures(model, monotonous)
    assert next(monotonous) == names[7]  # it was not read to its end


def test_what_pictures_are_refused(model: SimilarityModel, digits: ImageTensors) -> None:
    with pytest.raises(TypeError, match=r"Expected images or paths, got a ImageTensors\. Use pairsim.encode_dataset"):
        encode_pictures(model, digits)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected on_error to be one of raise, skip, got 'ignore'"):
        encode_pictures(model, [], on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected batch_size to be at least 1, got 0"):
        encode_pictures(model, [], batch_size=0)
    with pytest.raises(ValueError, match="Expected precision to be one of"):
        encode_pictures(model, [], precision="int8")  # type: ignore[arg-type]
    # what is no picture at all is a mistake of the caller's, not a picture to leave out
    with pytest.raises(TypeError, match=r"Expected an image as a path.*got int"):
        encode_pictures(model, [digits.images[0], 3], on_error="skip")  # type: ignore[list-item]
    with pytest.raises(ValueError, match="Expected pixels as uint8"):
        encode_pictures(model, [np.zeros((8, 8))], on_error="skip")  # type: ignore[list-item]


def test_grey_files_for_a_model_in_colour_and_its_own_way_of_reading(folder: Path) -> None:
    for fit in ("stretch", "crop", "pad"):
        preprocessing = Preprocessing(image_size=(12, 16), channels=3, fit=fit, interpolation="bicubic")
        net = EmbeddingNet(in_channels=3, image_size=(12, 16), embedding_dim=6)
        model = SimilarityModel(net, preprocessing=preprocessing).eval()
        found = encode_pictures(model, folder)
        pixels = torch.stack([preprocessing.read(name) for name in names_of(folder)])
        torch.testing.assert_close(found.embeddings, model.encode(pixels), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("threads")
def test_a_net_that_has_no_copy_for_inference_stays_in_eval_mode(folder: Path) -> None:
    class Own(SimilarityModel):
        modes: list[bool] = []  # noqa: RUF012

        def embed(self, images: torch.Tensor) -> torch.Tensor:
            self.modes.append(self.training)
            return super().embed(images)

    model = Own(EmbeddingNet(image_size=8, embedding_dim=6)).train()
    encode_pictures(model, folder)
    assert model.training
    assert set(model.modes) == {False}


def test_it_reads_in_a_few_lines() -> None:
    found = EncodedPictures(
        embeddings=torch.zeros(1500, 2),
        names=("x",) * 1500,
        indices=np.arange(1500),
        skipped=(Skipped(1500, None, "no picture"),),
        seconds=0.5,
        decoding=0.423,
    )
    assert str(found).splitlines() == [
        "1,500 pictures embedded in 0.5 s, 3,002 a second",
        "42% of the threads' time went into reading pictures, the rest into the net",
        "1 of 1,501 skipped as unreadable: picture 1500",
    ]


def test_pictures_are_read_in_threads_if_they_are_slow(
    model: SimilarityModel, folder: Path, threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()
    original = Preprocessing.read

    def noting(self: Preprocessing, image: PictureLike) -> torch.Tensor:
        names.add(threading.current_thread().name)
        return original(self, image)

    monkeypatch.setattr(Preprocessing, "read", noting)
    encode_pictures(model, folder)
    in_threads = {name for name in names if name.startswith("pairsim-read")}
    assert bool(in_threads) == threads
    assert len(in_threads) <= 3
    assert names - in_threads == {"MainThread"}


def test_progress_counts_every_picture(
    model: SimilarityModel, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(names_of(folder)[3]).write_text("no picture")
    encode_pictures(model, folder, on_error="skip", batch_size=50, progress=True)
    output = capsys.readouterr()
    assert output.out == ""
    assert "encoding" in output.err
    assert "/120 " in output.err
    encode_pictures(model, folder, on_error="skip", progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("threads")
def test_quality_is_measured_where_pictures_are_decoded(
    model: SimilarityModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, whole = names_of(folder), encode_pictures(model, folder)
    (folder / "a/001.png").write_bytes(b"no picture")
    poor = [names[number] for number in (2, 60, 119)]
    for name in poor:
        Image.new("L", (28, 28), 200).save(name)
    opened: list[str] = []
    original = samples.opened

    def noted(file: Any) -> Any:
        opened.append(file.name)
        return original(file)

    monkeypatch.setattr(samples, "opened", noted)
    found = encode_pictures(model, folder, on_error="skip", quality="warn", batch_size=16)
    assert sorted(opened) == names  # each once
    assert [one.name for one in found.flawed] == poor
    assert [one.index for one in found.flawed] == [2, 60, 119]
    assert [flaw.kind for one in found.flawed for flaw in one.flaws] == ["low contrast"] * 3
    assert len(found) == 119
    refused = encode_pictures(model, folder, on_error="skip", quality="refuse", batch_size=16)
    assert refused.flawed == found.flawed
    assert [one.index for one in refused.skipped] == [1, 2, 60, 119]
    assert refused.skipped[1].reason == str(refused.flawed[0])
    assert refused.names == tuple(name for name in names if name not in (names[1], *poor))
    torch.testing.assert_close(refused.embeddings, whole.embeddings[refused.indices], rtol=0, atol=1e-6)
    assert "4 of 120 skipped as unreadable or of poor quality: " in str(refused)
