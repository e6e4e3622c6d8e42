"""Copies of photographs: those that searches find, the false pairs beside them, seconds of the processor and memory.

On the sets of `benchmarks.duplicate_sets`. Each arm runs in a process of its own, on all cores, and but for the net on
one core too:

- imagehash's phash, dhash and whash, with a comparison of all pairs in NumPy, as a user would write it;
- imagededup's PHash, DHash and CNN; the net of the latter is torchvision's MobileNetV2, as a file in the data;
- `pairsim.find_duplicates` as it is by default. All pairs inside a cluster count as found.

The others are given the threshold that is best on the set itself: the largest with at most one false pair, which a user
does not know. Beside it is the result at the threshold that imagededup has by default, 10 bits or a cosine of 0.9.
pairsim has only its default.

`python -m benchmarks.duplicates --edited FOLDER` writes the edited set and its `groups.csv` to a folder;
`--score FOLDER` prints what pairsim finds there. `--half development` takes photographs that are not in the benchmark.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.duplicate_scores import (
    FALSE_PAIRS,
    Cluster,
    figures,
    kinds_named,
    originals_to_go,
    recall_by_edit,
    swept,
    within,
)
from benchmarks.duplicate_sets import (
    Pair,
    PictureSet,
    cluster_pairs,
    data_folder,
    read_set,
    write_edited,
    write_made,
    write_real,
)
from benchmarks.loss_memory import resident_bytes
from benchmarks.optional import missing, optional
from benchmarks.options import Options
from benchmarks.report import Table, to_markdown
from benchmarks.subprocesses import run_fresh
from benchmarks.timing import Row
from pairsim import find_duplicates
from pairsim.images import pictures_below

_CODE = """
import json, sys
from benchmarks import duplicates
print(json.dumps(duplicates.measure(*sys.argv[1:])))
"""
PAIRSIM, PHASH = "pairsim find_duplicates", "imagehash phash"
IMAGEHASH = {PHASH: "phash", "imagehash dhash": "dhash", "imagehash whash": "whash"}
IMAGEDEDUP = {"imagededup PHash": "PHash", "imagededup DHash": "DHash"}
CNN = "imagededup CNN"
EDITED, REAL, BY_EDIT, COST, MADE = (
    "Edited photographs",
    "Real copies",
    "Recall by edit",
    "Processor and memory",
    "Made pictures",
)
_BITS, _ONE_MINUS_COSINE = 10, 0.1
_WEIGHTS = "weights/mobilenet_v2-b0353104.pth"


def run(options: Options) -> list[Table]:
    """Compare the arms on the edited and the real set, and time pairsim on made pictures."""
    data = data_folder(options.data_dir)
    arms, notes = _arms(data)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        edited = write_edited(place / "edited", data, seed=options.seed, quick=options.quick)
        real = write_real(place / "real", data, quick=options.quick)
        found = {arm: _searched(arm, edited, place, data) for arm in arms}
        tables = [
            _table(EDITED, edited, found, notes),
            _table(REAL, real, {arm: _searched(arm, real, place, data) for arm in arms}, notes),
            _by_edit(edited, found),
            _cost(edited, found, {arm: _searched(arm, edited, place, data, cores="1") for arm in arms if arm != CNN}),
        ]
    return [*tables, _made(options)]


def _arms(data: Path) -> tuple[list[str], list[str]]:
    """The arms whose packages and files are there, and a note on each of the others."""
    arms, notes = [], []
    for package, names in (("imagehash", [*IMAGEHASH]), ("imagededup", [*IMAGEDEDUP, CNN])):
        if optional(package, package) is None:
            notes.append(missing(package))
        elif CNN in names and not (data / _WEIGHTS).is_file():
            arms += [name for name in names if name != CNN]
            notes.append(f"{CNN} is left out: its weights are not there.")
        else:
            arms += names
    return [*arms, PAIRSIM], notes


class _Search:
    """What an arm found, and what that cost."""

    def __init__(self, pictures: PictureSet, content: dict[str, Any], cost: dict[str, Any], distances: Any) -> None:
        self.decoding = cost.get("decoding_seconds", 0.0) / cost["cpu_seconds"]
        self.cost = {name: value for name, value in cost.items() if name != "decoding_seconds"}
        self.clusters = [Cluster(keep, members) for keep, members in content.get("clusters", ())]
        self.threshold: float | None = None
        self.default: set[Pair] | None = None
        if distances is None:
            self.pairs = set(cluster_pairs([[one.keep, *one.members] for one in self.clusters]))
        else:
            names, usual = content["names"], content["usual"]
            self.threshold, self.pairs = swept(pictures, names, distances)
            self.default = within(names, distances, usual)


def _searched(arm: str, pictures: PictureSet, place: Path, data: Path, cores: str = "all") -> _Search:
    """Run an arm in a process of its own."""
    print(f"duplicates: {arm}, {pictures.folder.parent.name}, cores: {cores}", file=sys.stderr, flush=True)
    cost = run_fresh(_CODE, arm, str(pictures.folder), str(place / "found"), cores, str(data / _WEIGHTS))
    content = json.loads((place / "found.json").read_text(encoding="utf-8"))
    distances = None
    if "clusters" not in content:
        distances = _distances(np.load(place / "found.npy"))
    return _Search(pictures, content, cost, distances)


def _distances(codes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Different bits of hashes `[N, bits]`, or 1 - cosine of embeddings `[N, D]` that are not of whole numbers."""
    if codes.dtype.kind == "f":
        unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
        return np.asarray(1 - unit @ unit.T, np.float32)
    signs = codes.astype(np.float32) * 2 - 1
    return np.asarray((codes.shape[1] - signs @ signs.T) / 2, np.float32)


def _table(title: str, pictures: PictureSet, found: dict[str, _Search], notes: Sequence[str]) -> Table:
    rows: list[Row] = []
    for arm, search in found.items():
        row: Row = {"arm": arm, **figures(pictures, search.pairs)}
        if search.default is not None:
            usual = figures(pictures, search.default)
            row |= {
                "threshold": search.threshold,
                "at_default": usual["recall"],
                "false_at_default": usual["false_pairs"],
            }
        else:
            row |= {"originals_to_go": len(originals_to_go(pictures, search.clusters))}
        rows.append(row)
    counts = f"{len(pictures.families):,} pictures, {len(pictures.copies):,} pairs of copies"
    return Table(
        f"{title}: {counts}",
        rows,
        (
            f"Of the others at the best threshold on this set, with at most {FALSE_PAIRS} false pair; of pairsim as it "
            "is by default.",
            *notes,
        ),
    )


def _by_edit(pictures: PictureSet, found: dict[str, _Search]) -> Table:
    recalls = {arm: recall_by_edit(pictures, search.pairs) for arm, search in found.items()}
    named = kinds_named(pictures, found[PAIRSIM].clusters)
    rows: list[Row] = [
        {"edit": edit, **{arm: recalls[arm][edit] for arm in recalls}, "change_named": named.get(edit)}
        for edit in recalls[PAIRSIM]
    ]
    return Table(
        f"{BY_EDIT}: original and edited copy",
        rows,
        (
            "All edits of a photograph are in one set, so its other copies can raise the similarity of a pair "
            "(decision 21).",
            "change_named: of the copies beside their original, those whose change pairsim names.",
        ),
    )


def _cost(pictures: PictureSet, found: dict[str, _Search], one_core: dict[str, _Search]) -> Table:
    rows: list[Row] = []
    for cores, searches in (("all", found), ("1", one_core)):
        reference = searches[PHASH].cost["cpu_seconds"] if PHASH in searches else None
        rows += [
            {
                "arm": f"{arm}, {'1 core' if cores == '1' else 'all cores'}",
                **search.cost,
                "times_phash": None if reference is None else search.cost["cpu_seconds"] / reference,
            }
            for arm, search in searches.items()
        ]
    return Table(
        f"{COST}: {len(pictures.families):,} pictures of the edited set",
        rows,
        (
            "Reading, hashing and comparing all pairs, after imports; child processes included.",
            "peak_MB: resident memory of the process at most, with PyTorch, which all of them import here; without "
            "that of child processes.",
        ),
    )


def _made(options: Options) -> Table:
    size = options.images or (200 if options.quick else 100_000)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        made = write_made(place / "made", size, options.seed)
        search = _searched(PAIRSIM, made, place, place)
    row: Row = {
        "arm": PAIRSIM,
        "pictures": size,
        **search.cost,
        "decoding": search.decoding,
        **figures(made, search.pairs),
    }
    return Table(
        f"{MADE} of 256 x 256: {size:,}",
        [row],
        ("decoding: the share of the processor's seconds that Pillow decodes in.",),
    )


# What follows runs in the fresh process.


def measure(arm: str, folder: str, out: str, cores: str, weights: str) -> dict[str, float]:
    """Run an arm, write what it finds to `out`.json and, for hashes and embeddings, `out`.npy; return what it cost."""
    available = sorted(os.sched_getaffinity(0))
    if cores == "1":
        os.sched_setaffinity(0, available[:1])
    torch.set_num_threads(1 if cores == "1" else len(available))
    search = _search_of(arm, 1 if cores == "1" else len(available), Path(weights))
    with tempfile.TemporaryDirectory() as small:  # what is imported when it is used first
        for path in pictures_below(folder)[:2]:
            Path(small, path.name).write_bytes(path.read_bytes())
        search(Path(small))
    decoding = _timed_decoding()
    before = resident_bytes("VmRSS")
    cpu, wall = _cpu_seconds(), time.perf_counter()
    content, codes = search(Path(folder))
    cost = {
        "cpu_seconds": _cpu_seconds() - cpu,
        "decoding_seconds": decoding.value,
        "wall_seconds": time.perf_counter() - wall,
        "peak_MB": resident_bytes("VmHWM") / 1e6,
        "peak_added_MB": max(resident_bytes("VmHWM") - before, 0) / 1e6,
    }
    Path(f"{out}.json").write_text(json.dumps(content), encoding="utf-8")
    if codes is not None:
        np.save(f"{out}.npy", codes)
    return cost


_Found = tuple[dict[str, Any], npt.NDArray[Any] | None]


def _search_of(arm: str, cores: int, weights: Path) -> Callable[[Path], _Found]:
    if arm in IMAGEHASH:
        return lambda folder: _by_imagehash(IMAGEHASH[arm], folder)
    if arm in IMAGEDEDUP:
        return lambda folder: _by_imagededup(IMAGEDEDUP[arm], folder, cores)
    if arm == CNN:
        return _cnn(weights)
    return _by_pairsim


def _by_pairsim(folder: Path) -> _Found:
    report = find_duplicates(folder, progress=False)
    found = [[one.keep, {member.file: member.kind for member in one.members}] for one in report.clusters]
    return {"clusters": found}, None


def _by_imagehash(method: str, folder: Path) -> _Found:
    import imagehash
    from PIL import Image

    paths = pictures_below(folder)
    codes = []
    for path in paths:
        with Image.open(path) as image:
            codes.append(getattr(imagehash, method)(image).hash.flatten())
    found = np.array(codes)
    np.argwhere(np.triu(_distances(found) <= _BITS, k=1))  # the search, whose result is made again from the hashes
    return {"names": [path.name for path in paths], "usual": _BITS}, found


def _by_imagededup(method: str, folder: Path, cores: int) -> _Found:
    from imagededup import methods

    hasher = getattr(methods, method)(verbose=False)
    workers = 0 if cores == 1 else cores
    hashes = hasher.encode_images(image_dir=folder, num_enc_workers=workers)
    hasher.find_duplicates(encoding_map=hashes, max_distance_threshold=_BITS, num_dist_workers=workers)
    codes = [np.unpackbits(np.frombuffer(bytes.fromhex(one), np.uint8)) for one in hashes.values()]
    return {"names": list(hashes), "usual": _BITS}, np.array(codes)


def _cnn(weights: Path) -> Callable[[Path], _Found]:
    from imagededup.methods import CNN as Method
    from imagededup.utils import CustomModel
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    net = mobilenet_v2()
    net.load_state_dict(torch.load(weights, weights_only=True))
    net.classifier = torch.nn.Identity()
    model = CustomModel("MobileNetV2", net.eval(), MobileNet_V2_Weights.IMAGENET1K_V1.transforms())
    method = Method(verbose=False, model_config=model)

    def search(folder: Path) -> _Found:
        vectors = method.encode_images(image_dir=folder)
        method.find_duplicates(encoding_map=vectors, min_similarity_threshold=1 - _ONE_MINUS_COSINE)
        codes = np.array([np.ravel(one) for one in vectors.values()], np.float64)
        return {"names": list(vectors), "usual": _ONE_MINUS_COSINE}, codes

    return search


def _timed_decoding() -> Any:
    """From here on, add up the processor's seconds that this process and those that it forks decode in, as `value`."""
    from PIL.ImageFile import ImageFile

    load: Any = ImageFile.load
    spent = multiprocessing.Value("d", 0.0)

    def timed(image: ImageFile) -> Any:
        began = time.thread_time()
        try:
            return load(image)
        finally:
            with spent:
                spent.value += time.thread_time() - began

    patched: Any = ImageFile
    patched.load = timed
    return spent


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the edited set to a folder, or print what pairsim finds in one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.duplicates")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--edited", type=Path, metavar="FOLDER", help="write the edited set to this folder")
    what.add_argument("--score", type=Path, metavar="FOLDER", help="search this folder and compare with its groups.csv")
    parser.add_argument("--half", choices=("test", "development"), default="test", help="of the photographs")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="$PAIRSIM_DATA by default")
    given = parser.parse_args(arguments)
    if given.edited is not None:
        pictures = write_edited(given.edited, data_folder(given.data_dir), half=given.half)
        print(f"{given.edited}: {len(pictures.families):,} pictures, {len(pictures.copies):,} pairs of copies")
        return 0
    pictures = read_set(given.score)
    began = time.perf_counter(), _cpu_seconds()
    content, _ = _by_pairsim(pictures.folder)
    cost = {"wall_seconds": time.perf_counter() - began[0], "cpu_seconds": _cpu_seconds() - began[1]}
    search = _Search(pictures, content, cost, None)
    print(to_markdown(_table(str(given.score), pictures, {PAIRSIM: search}, [json.dumps(cost)])))
    print(to_markdown(_by_edit(pictures, {PAIRSIM: search})))
    for one, other in sorted(search.pairs - pictures.copies)[:50]:
        print(f"false: {one} ({pictures.families[one]}), {other} ({pictures.families[other]})")
    for name, kept in originals_to_go(pictures, search.clusters).items():
        print(f"original to go: {name} ({pictures.families[name]}), kept: {kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
