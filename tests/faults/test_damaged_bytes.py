"""Every damaged byte of a model, a gallery and a run is found when its file is read, or changes nothing of that."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pairsim import EmbeddingNet, Gallery, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim._common import json_files, storage
from pairsim.data import ImageTensors
from pairsim.data.pairs.pair_files import write_pair_file
from pairsim.data.pairs.pair_lists import PairList
from pairsim.data.splits import read_split
from pairsim.errors import PairsimError
from pairsim.models import Calibration, OperatingPoint
from pairsim.models.backbones import read_weights
from pairsim.runs.run_data import recorded_data
from pairsim.runs.run_records import load_evaluation, read_run, save_evaluation
from pairsim.training.checkpointing.run_folder import load_checkpoint, read_log

SAMPLE = 40
"""Damages of each file in the quick tests."""
NUM_CUTS = 50

PIXELS = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = ImageTensors(PIXELS, [number % 4 for number in range(40)])


def new_model() -> SimilarityModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SimilarityModel(EmbeddingNet(nn.Conv2d(1, 2, 3), image_size=8, embedding_dim=2)).eval()


def plain(value: Any) -> Any:
    """Values that can be compared."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


@functools.cache
def same_model() -> SimilarityModel:
    """Made once, as that takes longer than to read a file; nothing may change it."""
    return new_model()


def read_model(folder: Path) -> Any:
    model = SimilarityModel.from_pretrained(folder, embedding_net=copy.deepcopy(same_model().embedding_net))
    return model.settings(), model.weights()


def read_gallery(folder: Path) -> Any:
    gallery = Gallery.load(folder, same_model())
    return gallery.ids, gallery.embeddings


def read_pairs(run: Path) -> Any:
    return vars(PairList.load(run / "validation_pairs.csv"))


def read_evaluation(run: Path) -> Any:
    found = load_evaluation(run)
    assert found is not None
    return vars(found)


def read_records(run: Path) -> Any:
    records = read_run(run)
    return records.run, records.config


def read_seconds(run: Path) -> Any:
    seconds = read_run(run).seconds
    if seconds is None:  # as a kill before the last line leaves it, the sum is left out
        raise PairsimError("timings.jsonl has fewer lines than the log")
    return seconds, read_log(run)


def read_split_file(run: Path) -> Any:
    split = read_split(run)
    assert split is not None
    return split.held_out, split.data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, gallery and run."""
    folder = tmp_path_factory.mktemp("whole")
    model = new_model()
    model.operating_point = OperatingPoint(0.25, 0.01, 0.02, 10, 90, "validation pairs", fmr_interval=(0.0, 0.1))
    model.calibration = Calibration(
        method="isotonic",
        prior=0.5,
        similarities=(0.1, 0.25),
        evidence=(-1.5, 2.25),
        operating_point=model.operating_point,
    )
    model.save_pretrained(folder / "model")
    gallery = Gallery(model)
    gallery.add(PIXELS[:6], ["a", "ü", "c", "d", "e", "f"])
    gallery.save(folder / "gallery")
    gallery.remove("c")
    gallery.save(folder / "gallery")
    run = folder / "run"
    config = TrainConfig(out=run, epochs=3, batch_size=16, val_fraction=0.3, precision="fp32", progress=False)
    Trainer(new_model(), config, train=IMAGES).fit()
    trained = SimilarityModel.from_pretrained(run, embedding_net=new_model().embedding_net)
    save_evaluation(run, evaluate(trained, IMAGES), data="folder", split="test", source="folder/test")
    storage.write_file(run / "data.json", json_files.sealed({"data": "folder", "class_names": list("abcd")}))
    write_pair_file(run / "validation_pairs.csv", [0, 1, 2], [3, 4, 6], [1, 0, 1], kind=["", "drawn", ""])
    return folder


CHECKPOINT = "run/checkpoints/newest"
FILES: list[tuple[str, Callable[[Path], Any]]] = [
    *((f"model/{name}", read_model) for name in ("config.json", "model.safetensors")),
    ("gallery/gallery.json", read_gallery),
    ("gallery/ids-00000.json", read_gallery),
    ("gallery/embeddings-00000.safetensors", read_gallery),
    ("run/run.json", read_records),
    ("run/config.json", read_records),
    ("run/data.json", recorded_data),
    ("run/split.json", read_split_file),
    ("run/evaluation.json", read_evaluation),
    ("run/log.jsonl", read_log),
    ("run/timings.jsonl", read_seconds),
    ("run/validation_pairs.csv", read_pairs),
    ("run/best_model.pt", lambda run: read_weights(run / "best_model.pt")),
    *((f"{CHECKPOINT}/{name}", load_checkpoint) for name in ("state.json", "tensors.safetensors", "checksums.json")),
]
ONE_BIT = ("best_model.pt", "state.json", "tensors.safetensors")
"""Larger files, in which each byte gets one damaged bit and not all 8 in turn."""


def damages(content: bytes, *, bits: int, sample: int | None) -> Iterator[tuple[str, bytes]]:
    """Copies with one flipped bit, and copies that end early, each with what was done."""
    rng = np.random.default_rng(0)
    places = [
        (byte, bit) for byte in range(len(content)) for bit in (range(8) if bits == 8 else rng.integers(8, size=1))
    ]
    if sample is not None:
        places = [places[number] for number in rng.choice(len(places), min(sample, len(places)), replace=False)]
    for byte, bit in places:
        flipped = bytearray(content)
        flipped[byte] ^= 1 << int(bit)
        yield f"byte {byte}, bit {bit}", bytes(flipped)
    for end in np.unique(np.linspace(0, len(content) - 1, NUM_CUTS if sample is None else 10).astype(int)):
        yield f"cut at {end}", content[:end]


def check(place: Path, name: str, read: Callable[[Path], Any], sample: int | None) -> None:
    newest = sorted((place / "run" / "checkpoints").iterdir())[-1]
    file = newest / Path(name).name if CHECKPOINT in name else place / name
    whole = file.read_bytes()
    folder = place / name.partition("/")[0]
    if CHECKPOINT in name:  # with the one before, which is used where this one is damaged
        folder = place / "run"
    expected, tried, found = plain(read(folder)), 0, 0
    try:
        for what, content in damages(whole, bits=1 if file.name in ONE_BIT else 8, sample=sample):
            file.write_bytes(content)
            tried += 1
            try:
                got = read(folder)
                if CHECKPOINT in name and got[1]:  # a line about the damaged one
                    raise PairsimError(*got[1])
            except PairsimError as error:
                found += 1
                named = file.name in str(error) or newest.name in str(error)
                assert (named, "\n" in str(error)) == (True, False), (what, error)  # noqa: PT017
            else:
                assert plain(got) == expected, f"{what} of {name} was not found"
    finally:
        file.write_bytes(whole)
    print(f"\n{name}: damages tried {tried}, detected {found}, without effect {tried - found}")
    assert found > tried / 2


@pytest.mark.parametrize(("name", "read"), FILES, ids=[name for name, _ in FILES])
def test_damage_is_found(place: Path, name: str, read: Callable[[Path], Any]) -> None:
    check(place, name, read, SAMPLE)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "read"), FILES, ids=[name for name, _ in FILES])
def test_damage_of_every_byte_is_found(place: Path, name: str, read: Callable[[Path], Any]) -> None:
    check(place, name, read, None)
