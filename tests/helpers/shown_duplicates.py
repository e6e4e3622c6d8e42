"""A folder of pictures with duplicates of several kinds, some with hostile names, and a report on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pairsim.audits.duplicates.choice.file_facts import FileFacts
from pairsim.audits.duplicates.duplicate_report import Duplicate, DuplicateCluster, DuplicateReport
from pairsim.encoding.pictures import Skipped

HOSTILE = ("<img src=x onerror=alert(1)>.png", "bidi\u202egnp.png", "esc\x1b[2J\n.png", os.fsdecode(b"caf\xe9.png"))


def scene(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A smooth picture without symmetry."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_archive(folder: Path) -> DuplicateReport:
    """Write a folder of two pictures and an archive that has both, and return what a search against it would find."""
    for name in ("pics/copy.png", "pics/other.png", "archive/first.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        scene(0).save(folder / name)
    members = tuple(Duplicate(file=name, similarity=1.0, kind="identical file") for name in ("copy.png", "other.png"))
    cluster = DuplicateCluster(keep=str(folder / "archive/first.png"), members=members)
    return DuplicateReport(num_images=3, clusters=(cluster,), threshold=0.8)


def write_folder(folder: Path) -> DuplicateReport:
    """Write the pictures and return what a search would find."""
    (folder / "sub").mkdir(parents=True)
    first = scene(0)
    first.save(folder / "first.png")
    changed = {
        "sub/mirrored.png": (ImageOps.mirror(first), "mirrored"),
        "sub/turned.png": (first.rotate(90, expand=True), "turned 90 degrees"),
        "sub/small.png": (first.resize((160, 120)), "resized to 50 %"),
        "sub/part.png": (first.crop((20, 20, 300, 220)), "cropped to 73 %"),
        "sub/brighter.png": (first.point(lambda value: min(value + 10, 255)), "near"),
    }
    members = []
    for name, (picture, kind) in changed.items():
        picture.save(folder / name)
        facts = FileFacts(width=picture.width, height=picture.height, num_bytes=(folder / name).stat().st_size)
        members.append(Duplicate(file=name, similarity=0.99, kind=kind, facts=facts))
    facts = FileFacts(width=320, height=240, num_bytes=99, format="PNG", lossless=True, taken="2024:05:01")
    clusters = [
        DuplicateCluster(keep="first.png", members=tuple(members), reason="most pixels: 320 x 240", facts=facts)
    ]
    scene(1).save(folder / HOSTILE[0])
    for name in HOSTILE[1:]:
        shutil.copy(folder / HOSTILE[0], folder / name)
    copies = tuple(Duplicate(file=name, similarity=1.0, kind="identical file") for name in HOSTILE[1:])
    clusters.append(DuplicateCluster(keep=HOSTILE[0], members=copies))
    for seed in (2, 3):
        scene(seed).save(folder / f"frame{seed}.png")
    frame = Duplicate(file="frame3.png", similarity=0.97, kind="similar")
    return DuplicateReport(
        num_images=12,
        clusters=tuple(clusters),
        threshold=0.99,
        skipped=(Skipped(9, "bad\u202e.png", "It is damaged."),),
        similar=(DuplicateCluster(keep="frame2.png", members=(frame,)),),
    )
