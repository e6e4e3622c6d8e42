"""The HTTP service under load: pictures a second, waiting times, and what a signal under load loses.

`pairsim serve` runs as a process of its own, with the reference net and random weights, on which no time depends, and
as many threads as the process of the benchmark. Its clients are one more process (`benchmarks.load_client`): each keeps
its connection, and sends its next request when the last one was answered. All processes share the machine's cores. The
pictures are PNG of 28 x 28 random pixels. Every arm decodes them with the model's own reader:

- a loop over single pictures in memory, `model.encode` on one after the other;
- `model.encode` on all of them, in batches, in one process: the rate that the service is compared with;
- `POST /encode` by 1, 8 and 64 clients with one picture a request, and by 64 clients with 16.

Arms take turns. The second table is of SIGTERM while 64 clients enrol pictures: what was answered has to be on disk.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import load_client
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row, Spread, alternate
from pairsim import EmbeddingNet, Gallery, SimilarityModel
from pairsim.images import PictureFile

LOOP, BATCHED = "loop, one picture at a time", "one process, in batches"
LOADS = ((1, 1), (8, 1), (64, 1), (64, 16))
"""Clients, and pictures in a request."""
_PICTURES, _BOUNDARY = 512, "b0undary"


def run(options: Options) -> list[Table]:
    """Measure the rates, then what a signal loses."""
    seconds = 0.5 if options.quick else 5.0
    contents = pictures(64 if options.quick else _PICTURES, options.seed)
    files = [PictureFile(content) for content in contents]
    with tempfile.TemporaryDirectory() as temporary, torch.random.fork_rng(devices=[]):
        folder = Path(temporary)
        torch.manual_seed(options.seed)
        SimilarityModel(EmbeddingNet()).save_pretrained(folder / "run")
        model = SimilarityModel.from_pretrained(folder / "run").to(options.device)
        with service(folder, options) as (_, port):
            arms: dict[str, Callable[[], Row]] = {
                LOOP: functools.partial(timed, lambda: [model.encode(file) for file in files], len(files)),
                BATCHED: functools.partial(timed, lambda: model.encode(files, progress=False), len(files)),
            }
            for clients, each in LOADS:
                requests = [encoding(contents[start : start + each]) for start in range(0, len(contents), each)]
                arms[name_of(clients, each)] = functools.partial(loaded, port, clients, seconds, requests, each)
            found = alternate(arms, rounds=options.rounds or (1 if options.quick else 5))
        stopped = stop_under_load(folder, contents, options)
    note = "Ratio: pictures a second, to one process in batches, in the same round. Clients share the machine's cores."
    return [
        Table("Encoding 28 x 28 PNG", [row_of(name, runs, found[BATCHED]) for name, runs in found.items()], (note,)),
        Table("SIGTERM while 64 clients enrol", [stopped], ("Enrolled: ids in the gallery that was then loaded.",)),
    ]


def name_of(clients: int, each: int) -> str:
    """The name of an arm."""
    return f"{clients} client{'s' * (clients > 1)}, {each} picture{'s' * (each > 1)} a request"


def row_of(name: str, runs: Sequence[Row], baseline: Sequence[Row]) -> Row:
    """Medians of the rounds of an arm; the times of a request are of all rounds."""
    rates = Spread.of([run["rate"] for run in runs])
    ratio = Spread.of([run["rate"] / other["rate"] for run, other in zip(runs, baseline, strict=True)])
    row: Row = {
        "arm": name,
        "pictures_per_s": rates.median,
        "pictures_per_s_low": rates.low,
        "pictures_per_s_high": rates.high,
        "ratio": ratio.median,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "runs": len(runs),
    }
    if "times" in runs[0]:
        times = sorted(seconds for run in runs for seconds in run["times"])
        median, slow = statistics.median(times), times[int(0.99 * len(times))]
        row |= {
            "requests_per_s": statistics.median(run["requests_per_s"] for run in runs),
            "median_ms": 1000 * median,
            "p99_ms": 1000 * slow,
            "p99_by_median": slow / median,
            "failed": sum(run["failed"] for run in runs),
        }
    return row


def pictures(count: int, seed: int) -> list[bytes]:
    """PNG files of 28 x 28 random pixels."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (28, 28), dtype=np.uint8)).save(file, "PNG")
        found.append(file.getvalue())
    return found


def request(path: str, contents: Sequence[bytes], ids: Sequence[str] = ()) -> bytes:
    """A POST request with pictures and ids, ready to be sent."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="pictures"; filename="{number}.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for number, content in enumerate(contents)
    ]
    parts += [f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="ids"\r\n\r\n{one}\r\n'.encode() for one in ids]
    body = b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def encoding(contents: Sequence[bytes]) -> bytes:
    """A request for the embeddings of pictures."""
    return request("/encode", contents)


def timed(work: Callable[[], object], count: int) -> Row:
    """The rate of work in this process."""
    began = time.perf_counter()
    work()
    return {"rate": count / (time.perf_counter() - began)}


@contextlib.contextmanager
def service(folder: Path, options: Options, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `pairsim serve` on the model in a folder, with as many threads as this process."""
    command = [sys.executable, "-m", "pairsim", "serve", "run", "--port", "0", "--device", options.device, *arguments]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r":(\d+);", line)
            if found is None:
                raise RuntimeError(f"Expected the service to start, but: {line}{process.stderr.read()}")
            yield process, int(found[1])
        finally:
            process.kill()


def client(port: int, clients: int, seconds: float, requests: Sequence[bytes]) -> subprocess.Popen[str]:
    """Start the clients."""
    given: dict[str, Any] = {"host": "127.0.0.1", "port": port, "clients": clients, "seconds": seconds}
    given["requests"] = [one.hex() for one in requests]
    process = subprocess.Popen(
        [sys.executable, load_client.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(given))
    process.stdin.close()
    process.stdin = None
    return process


def loaded(port: int, clients: int, seconds: float, requests: Sequence[bytes], each: int) -> Row:
    """The rate of the service under load, and the times of its requests."""
    found = json.loads(client(port, clients, seconds, requests).communicate()[0])
    times = [took for took, status in found["answered"] if status == 200]
    rate = len(times) / found["seconds"]
    return {
        "rate": rate * each,
        "requests_per_s": rate,
        "times": times,
        "failed": len(found["answered"]) - len(times),
    }


def stop_under_load(folder: Path, contents: Sequence[bytes], options: Options) -> Row:
    """Send SIGTERM while clients enrol pictures; count answers, and what is in the gallery then."""
    requests = [request("/enrol", [contents[n % len(contents)]], [str(n)]) for n in range(64 * 400)]
    with service(folder, options, "--gallery", "gallery") as (process, port):
        clients = client(port, 64, 60.0, requests)
        time.sleep(1.0 if options.quick else 3.0)
        process.send_signal(signal.SIGTERM)
        began = time.perf_counter()
        status = process.wait()
        seconds = time.perf_counter() - began
        answered = json.loads(clients.communicate()[0])["answered"]
    stored = len(Gallery.load(folder / "gallery", SimilarityModel.from_pretrained(folder / "run")))
    accepted = sum(one == 200 for _, one in answered)
    return {
        "arm": "enrol",
        "answered": accepted,
        "enrolled": stored,
        "lost": max(accepted - stored, 0),
        "other_answers": sum(one not in (0, 200) for _, one in answered),
        "without_answer": sum(one == 0 for _, one in answered),
        "exit_status": status,
        "seconds_to_stop": seconds,
    }
