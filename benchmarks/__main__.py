"""`python -m benchmarks [NAME...] [--device cpu|cuda] [--quick] [--json FILE]`, `compare FILE FILE`, `gpu`."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import gpu, report
from benchmarks.compare import main as compare
from benchmarks.options import OptionError, Options
from benchmarks.registry import BENCHMARKS


def parse(arguments: Sequence[str] | None = None) -> tuple[list[str], Path | None, Options]:
    """The names of the benchmarks, the JSON file and the options."""
    listed = "\n".join(f"  {name:15} {benchmark.about}" for name, benchmark in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare pairsim with the reference notebook and with what is possible.",
        epilog=f"benchmarks:\n{listed}\n\n  compare A.json B.json   two files of results side by side\n"
        "  gpu --json FILE         all that needs a GPU, in a limited time: gpu --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; all by default")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="do less, to see that everything works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where MNIST is; $PAIRSIM_DATA by default")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="epochs to train")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="timed rounds, each of every arm")
    parser.add_argument("--num-pairs", type=_positive, metavar="N", help="pairs to draw in an epoch or in a run")
    parser.add_argument("--images", type=_positive, metavar="N", help="pictures to make up, to search for duplicates")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="the notebook's loader workers (4)")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="keep run folders here, and use those that are")
    parser.add_argument("--results", type=Path, metavar="DIR", help="result files that others build on")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random (1)")
    found = parser.parse_args(arguments)
    unknown = [name for name in found.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"expected benchmarks among {', '.join(BENCHMARKS)}, got {', '.join(unknown)}")
    if found.device == "cuda" and not torch.cuda.is_available():
        parser.error("expected a CUDA device for --device cuda, PyTorch finds none")
    options = Options(
        device=found.device,
        quick=found.quick,
        data_dir=found.data_dir,
        epochs=found.epochs,
        rounds=found.rounds,
        num_pairs=found.num_pairs,
        images=found.images,
        workers=found.workers,
        runs=found.runs,
        results=found.results,
        seed=found.seed,
    )
    return list(found.names) or list(BENCHMARKS), found.json, options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks and print their tables."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["compare"]:
        return compare(given[1:])
    if given[:1] == ["gpu"]:
        return gpu.main(given[1:])
    names, path, options = parse(given)
    environment = report.describe(options)
    print(report.environment_lines(environment))
    results = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        try:
            results[name] = BENCHMARKS[name].run(options)
        except OptionError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        gc.collect()  # what a benchmark leaves behind is not cleared away in another one's time
        print(f"{name}: done in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        for table in results[name]:
            print(report.to_markdown(table), flush=True)
        if path is not None:  # after each one, so that a later failure loses nothing
            report.write_json(path, environment, results)
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
