"""Files that are made to harm, given to each reader: a value or a typed error of one line, soon and in little memory.

Each reader runs in a process of its own with a limit of memory and of time.
"""

from __future__ import annotations

import functools
import io
import multiprocessing
import os
import resource
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from file_readers import READERS
from PIL import Image
from sample_files import png

from pairsim.errors import PairsimError

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

LIMIT_BYTES, LIMIT_S = 2 * 2**30, 60
DEEP = 100_000


def header_of_npy(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        for name, content in members.items():
            zipped.writestr(f"{name}.npy", content)
    return file.getvalue()


def saved(kind: str, image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def big_png(side: int, bits: int) -> bytes:
    content = bytearray(png(np.zeros((1, 1, 3), int), bits, 2))
    content[16:24] = struct.pack(">II", side, side)
    return bytes(content)


@functools.cache
def contents() -> dict[str, bytes]:
    """What a file may hold; made when it is needed, as some of it is large."""
    return {
        "empty": b"",
        "zeros": bytes(4096),
        "NULs in text": b"file_name,label\na\0.png,x\0\n\0\0",
        "a broken encoding": b"file_name,label\n\xff\xfe\xfa.png,\xe9\n",
        "UTF-16 cut off": "file_name,label\na.png,x\n".encode("utf-16")[:-1],
        "an endless line": b"a" * 10_000_000,
        "a long field": b"file_name,label\n" + b"a" * 200_000 + b",x\n",
        "a long field of pairs": b"a.png," + b"b" * 200_000 + b",1\n",
        "a name of 300 bytes": b"file_name,label\n" + b"n" * 300 + b".png,x\n",
        "pairs of long names": b"n" * 300 + b".png," + b"m" * 5000 + b".png,1\n",
        "many columns": b",".join([b"a"] * 100_000) + b"\n",
        "an open quote": b'a.png,"b.png,1\n' + b"c.png,d.png,0\n" * 50_000,
        "a huge number": b"1,2," + b"9" * 100_000 + b"\n",
        "deep JSON": b"[" * DEEP,
        "deep JSON objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        "a huge number in JSON": b'{"a": ' + b"9" * 100_000 + b"}",
        "JSON that is no object": b"[1, 2]",
        "escape codes": b"\x1b[2J\x9b31m,\xe2\x80\xae,1\n",
        "a PNG of 2.5 billion pixels": big_png(50_000, 8),
        "a PNG of 16 bits": big_png(6_000, 16),
        "a GIF of a large page": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0\0\0\0\xff\xff\xff" + b";",
        "a BMP of a large page": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, *[0] * 6),
        "a WebP of a large page": b"RIFF" + struct.pack("<I", 30)
        + b"WEBPVP8X\n\0\0\0\0\0\0\0" + b"\xff\x3f\0\xff\x3f\0",
        "a TIFF in a circle": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        "a TIFF of a large page": b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHII", 256, 4, 1, 2**31)
        + struct.pack("<HHII", 257, 4, 1, 2**31) + bytes(4),
        "a JPEG of a large page": saved("JPEG", Image.new("RGB", (8, 8))).replace(b"\0\x08\0\x08", b"\xff\xdc\xff\xdc"),
        "an animation of 2,000 frames": saved(
            "GIF", Image.new("L", (8, 8)),
            save_all=True, append_images=[Image.new("L", (8, 8), k % 2) for k in range(2000)],
        ),
        "text chunks that unpack": saved("PNG", Image.new("L", (8, 8))).replace(b"IDAT", b"zTXt", 1),
        "an archive that unpacks": archive(embeddings=header_of_npy("(1000000000, 1)") + bytes(400_000_000)),
        "an array that is not there": header_of_npy("(1000000000000, 9)"),
        "an array of odd shape": header_of_npy("(-1, 2)"),
        "an array in an archive that is not there": archive(embeddings=header_of_npy("(1000000000000, 9)")),
        "a header that is code": header_of_npy("__import__('os').abort()"),
        "tensors whose header is long": struct.pack("<Q", 2**63) + b"{}",
        "tensors whose header is deep": struct.pack("<Q", DEEP) + b"[" * DEEP,
        "tensors that are not there": struct.pack("<Q", 62)
        + b'{"a":{"dtype":"F32","shape":[9999],"data_offsets":[0,39996]}}'.ljust(62),
    }  # fmt: skip


PARTS = ("config of a model", "weights of a model", "index of a gallery", "log of a run")
"""Readers of folders in which the file replaces another."""
QUICK = ("picture",)
KINDS = ("pipe", "socket", "zero", "loop", "folder")


def outcome(read: Callable[[Path], object], path: Path, results: Any) -> None:
    """Read a file, in a process of its own, and send what came of it."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, hard))
    os.chdir(path.parent)
    torch.set_num_threads(1)  # more threads could deadlock in a forked process
    try:
        read(path)
        results.put(("value", ""))
    except PairsimError as error:
        results.put(("typed error", str(error)))
    except BaseException as error:
        results.put(("untyped error", f"{type(error).__name__}: {error}"[:500]))


def attempt(read: Callable[[Path], object], path: Path) -> tuple[str, str]:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=outcome, args=(read, path, results))
    process.start()
    process.join(LIMIT_S)
    if process.is_alive():
        process.kill()
        process.join()
        return "hang", ""
    return results.get() if not results.empty() else ("death", str(process.exitcode))


@pytest.mark.parametrize(
    "reader", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in READERS]
)
def test_contents(reader: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    counts, wrong = dict[str, int](), []
    for number, (kind, content) in enumerate(contents().items()):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        path.write_bytes(content)
        what, said = attempt(read, path)
        counts[what] = counts.get(what, 0) + 1
        if what not in ("value", "typed error") or not said.isprintable() or len(said) > 3000:
            wrong.append(f"{kind}: {what}: {said[:300]}")
    print(f"{reader}: {counts}")
    assert not wrong
    assert counts["typed error"] > len(contents()) // 4


@pytest.fixture
def no_files(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """What is no file: opening a pipe waits for whoever writes to it, and a device never ends."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # the path of a socket is short
        listening.bind("socket")
        (tmp_path / "zero").symlink_to("/dev/zero")
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "folder").mkdir()
        yield {name: tmp_path / name for name in (*KINDS, "nothing", "n" * 300)}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file(reader: str, no_files: dict[str, Path]) -> None:
    name, read = READERS[reader]
    wrong = []
    for kind, target in no_files.items():
        path = target.parent / f"in-{kind[:9]}" / (name if kind in KINDS else kind + name)
        path.parent.mkdir()
        if kind in KINDS:
            path.symlink_to(target)
        elif reader in PARTS:
            continue
        what, said = attempt(read, path)
        absent = reader == "log of a run" and what == "value"  # as if there were none
        if not (absent or (what == "typed error" and said.isprintable())):
            wrong.append(f"{kind[:9]}: {what}: {said[:300]}")
    assert not wrong
