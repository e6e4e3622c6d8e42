"""Readers of files that may come from strangers, each as a function of the bytes of a file.

A target returns, or raises a `PairsimError`. Anything else is a defect.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from json import loads
from pathlib import Path

import numpy as np
import torch
from file_readers import READERS, sample
from sample_files import png

from pairsim._common import storage
from pairsim.cli.config_file import read_config
from pairsim.data import load_data
from pairsim.data.named.embedding_files import read_embeddings
from pairsim.data.pairs.pair_files import read_folds, read_pair_file, read_table
from pairsim.errors import PairsimError, printable
from pairsim.images import read_image
from pairsim.training.checkpointing.run_folder import load_checkpoint, save_checkpoint

MAX_PIXELS = 10**6
CORPUS = Path(__file__).parent / "corpus"


def image(content: bytes, folder: Path) -> None:
    """A picture of any format."""
    read_image(_written(folder / "picture", content), image_size=(8, 8), max_pixels=MAX_PIXELS)


def folder(content: bytes, folder: Path) -> None:
    """A folder of pictures with a table of labels; the first byte chooses CSV or JSON lines."""
    place = folder / "pictures"
    for number, label in enumerate("aabb"):
        (place / label).mkdir(parents=True, exist_ok=True)
        (place / label / f"{number}.png").write_bytes(PICTURE)
    name, other = ("metadata.csv", "metadata.jsonl")[:: 1 if content[:1] <= b"\x7f" else -1]
    (place / other).unlink(missing_ok=True)
    _written(place / name, content[1:])
    load_data(place, "all")


def pairs(content: bytes, folder: Path) -> None:
    """A file of pairs."""
    path = _written(folder / "pairs.csv", content)
    for read in (read_table, read_pair_file, read_folds):
        try:
            read(path)
        except PairsimError:
            continue


def embeddings(content: bytes, folder: Path) -> None:
    """A file of embeddings; the first byte chooses the format."""
    ending = (".npz", ".npy", ".parquet")[(content or b"\0")[0] % 3]
    read_embeddings(_written(folder / f"embeddings{ending}", content[1:]))


def toml(content: bytes, folder: Path) -> None:
    """A file of settings in TOML."""
    _settings(folder / "settings.toml", content)


def json(content: bytes, folder: Path) -> None:
    """A file of settings in JSON."""
    _settings(folder / "settings.json", content)


def checkpoint(content: bytes, folder: Path) -> None:
    """The state of a checkpoint, with a checksum that fits."""
    save_checkpoint(folder, 1, {"weights": torch.zeros(2)})
    step = folder / "checkpoints" / "step-000000001"
    tensors = (step / "tensors.safetensors").read_bytes()
    _written(step / "state.json", content)
    sums = {"state.json": storage.sha256(content), "tensors.safetensors": storage.sha256(tensors)}
    _written(step / storage.CHECKSUMS, storage.to_json(sums))
    load_checkpoint(folder)


def part(reader: str) -> Callable[[bytes, Path], object]:
    """A file of a model, a gallery or a run."""
    name, read = READERS[reader]
    return lambda content, folder: read(_written(folder / name, content))


TARGETS: dict[str, Callable[[bytes, Path], object]] = {
    **{target.__name__: target for target in (image, folder, pairs, embeddings, toml, json, checkpoint)},
    "model": part("config of a model"),
    "weights": part("weights of a model"),
    "gallery": part("index of a gallery"),
    "log": part("log of a run"),
}
PICTURE = png(np.zeros((8, 8), dtype=np.uint8), 8, 0)


def sample_of(target: str) -> bytes:
    """A whole file of a model or gallery as it is written here, without its SHA-256 of itself, to begin with."""
    kind, name = {
        "model": ("model", "config.json"),
        "weights": ("model", "model.safetensors"),
        "gallery": ("gallery", "gallery.json"),
    }.get(target, ("", ""))
    if not kind:
        return b""
    content = sample(kind)[name]
    if name.endswith(".json"):
        content = storage.to_json({key: value for key, value in loads(content).items() if key != "sha256"})
    return content


def run(target: str, content: bytes) -> None:
    """Call a target in a folder of its own.

    Raises:
        Exception: What is not a `PairsimError` of one line; it is a defect.
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        try:
            TARGETS[target](content, Path(place))
        except PairsimError as error:
            if printable(str(error)) != str(error):
                raise ValueError("the message is not one printable line") from error


def _settings(path: Path, content: bytes) -> None:
    with contextlib.suppress(ValueError):  # which the command line prints in one line
        read_config(_written(path, content), "train")


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
