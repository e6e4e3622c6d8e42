"""Nothing that pairsim reads executes a pickle: each kind of file with a payload that would leave a marker."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from file_readers import READERS

from pairsim._common import storage
from pairsim.cli.config_file import read_config
from pairsim.data.loading.pixel_cache import _why_not_usable
from pairsim.errors import PairsimError
from pairsim.training.checkpointing.run_folder import load_checkpoint, save_checkpoint
from pairsim.visual.curves.training_figures import _read_log


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def pickled(payload: Payload) -> bytes:
    return pickle.dumps(payload)


def of_torch(payload: Payload) -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.zeros(2), "b": payload}, file)
    return file.getvalue()


def of_old_torch(payload: Payload) -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.zeros(2), "b": payload}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def array(payload: Payload) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([payload, payload]), allow_pickle=True)
    return file.getvalue()


def arrays(payload: Payload) -> bytes:
    file = io.BytesIO()
    np.savez(file, embeddings=np.ones((2, 3)), labels=np.array([payload, payload]), ids=np.array([payload, 1]))
    return file.getvalue()


CONTENTS = (pickled, of_torch, of_old_torch, array, arrays)


def checkpoint(name: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        run = path.parent / "run"
        save_checkpoint(run, 1, {"weights": torch.zeros(2)})
        step = run / "checkpoints" / "step-000000001"
        assert load_checkpoint(run)[0] is not None
        os.replace(path, step / name)
        sums = {file: storage.sha256((step / file).read_bytes()) for file in ("state.json", "tensors.safetensors")}
        if name != storage.CHECKSUMS:
            (step / storage.CHECKSUMS).write_bytes(storage.to_json(sums))
        return load_checkpoint(run)

    return read


OTHERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "embeddings .parquet": ("x.parquet", READERS["embeddings .npz"][1]),
    "config file": ("x.toml", partial(read_config, command="train")),
    "cache of pixels": ("x.pixels", lambda path: _why_not_usable(path, {"shape": [1]}, False)),
    "log of training": ("log.jsonl", _read_log),
    "state of a checkpoint": ("state.json", checkpoint("state.json")),
    "tensors of a checkpoint": ("tensors.safetensors", checkpoint("tensors.safetensors")),
    "checksums of a checkpoint": ("checksums.json", checkpoint("checksums.json")),
}


def test_the_payload_would_work(tmp_path: Path) -> None:
    readers: tuple[Callable[[bytes], object], ...] = (
        pickle.loads,
        lambda content: torch.load(io.BytesIO(content), weights_only=False),
        lambda content: torch.load(io.BytesIO(content), weights_only=False),
        lambda content: np.load(io.BytesIO(content), allow_pickle=True),
        lambda content: np.load(io.BytesIO(content), allow_pickle=True)["labels"],
    )
    for number, (make, read) in enumerate(zip(CONTENTS, readers, strict=True)):
        marker = tmp_path / str(number)
        with contextlib.suppress(FileExistsError):  # the second payload of an array
            read(make(Payload(marker)))
        assert marker.exists(), make.__name__


@pytest.mark.parametrize("reader", [*READERS, *OTHERS])
def test_no_payload_is_executed(reader: str, tmp_path: Path) -> None:
    name, read = {**READERS, **OTHERS}[reader]
    marker = tmp_path / "marker"
    for make in CONTENTS:
        path = tmp_path / make.__name__ / name
        path.parent.mkdir()
        path.write_bytes(make(Payload(marker)))
        with contextlib.suppress(PairsimError, ValueError):
            read(path)
        assert not marker.exists(), make.__name__
