"""Loading a saved gallery, each in a fresh process: 1,000,000 embeddings of 128 dimensions, all checksums compared.

Memory is the peak of the process less what it held before, in times the size of what is loaded: embeddings, and ids as
Python holds them in a list. Files are in the system's cache. `numpy.load` of the bare embeddings, which compares
nothing, is what reading costs at least. Target: below 2 s, and at most 1.2 times the size.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.loss_memory import resident_bytes
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.subprocesses import run_fresh
from benchmarks.timing import Row, Spread
from pairsim import EmbeddingNet, Gallery, SimilarityModel

_CODE = """
import json, sys
from benchmarks import gallery_loading
print(json.dumps(gallery_loading.measure(sys.argv[1], sys.argv[2])))
"""
DIM = 128
NUMBERS, PATHS, BARE = "pairsim Gallery, ids are numbers", "pairsim Gallery, ids are paths", "numpy.load, no ids"


def run(options: Options) -> list[Table]:
    """Save galleries, and load each in its own processes."""
    count = 20_000 if options.quick else 1_000_000
    rounds = options.rounds or (1 if options.quick else 5)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        model = SimilarityModel(EmbeddingNet())
        model.save_pretrained(Path(place, "model"))
        vectors = functional.normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(options.seed)))
        np.save(Path(place, "bare.npy"), vectors.numpy())
        saving = {BARE: 0.0}
        for arm, folder in ((NUMBERS, "numbers"), (PATHS, "paths")):
            gallery = Gallery(model)
            gallery.add_embeddings(vectors, range(count) if arm == NUMBERS else map(_path, range(count)))
            began = time.perf_counter()
            gallery.save(Path(place, folder))
            saving[arm] = time.perf_counter() - began
        del vectors, gallery
        for arm in (BARE, NUMBERS, PATHS):
            print(f"gallery-loading: {arm}", file=sys.stderr, flush=True)
            found = [run_fresh(_CODE, arm, place) for _ in range(rounds)]
            seconds = Spread.of([one["seconds"] for one in found])
            peak = max(one["peak_bytes"] for one in found)
            rows.append(
                {
                    "arm": arm,
                    "images": count,
                    "seconds": seconds.median,
                    "seconds_low": seconds.low,
                    "seconds_high": seconds.high,
                    "runs": rounds,
                    "size_MB": found[0]["size_bytes"] / 1e6,
                    "peak_MB": peak / 1e6,
                    "peak_to_size": peak / found[0]["size_bytes"],
                    **({"seconds_to_save": saving[arm]} if arm != BARE else {}),
                }
            )
    return [Table(f"Loading {count:,} embeddings", rows)]


def _path(number: int) -> str:
    return f"pictures/{number:07d}.jpg"


# What follows runs in the fresh process.


def measure(arm: str, place: str) -> dict[str, Any]:
    """Seconds and bytes of one arm."""
    model = SimilarityModel.from_pretrained(Path(place, "model"))
    small = Gallery(model)
    small.add_embeddings(functional.normalize(torch.ones(1, DIM)), [0])
    small.save(Path(place, "small"))
    Gallery.load(Path(place, "small"), model)  # imports and threads
    before = resident_bytes("VmRSS")
    began = time.perf_counter()
    if arm == BARE:
        size = int(np.load(Path(place, "bare.npy")).nbytes)
        seconds = time.perf_counter() - began
    else:
        gallery = Gallery.load(Path(place, "numbers" if arm == NUMBERS else "paths"), model)
        seconds = time.perf_counter() - began
        ids = gallery.ids
        size = gallery.embeddings.nbytes + sys.getsizeof(ids) + sum(map(sys.getsizeof, ids))
    return {"seconds": seconds, "peak_bytes": max(resident_bytes("VmHWM") - before, 0), "size_bytes": size}
