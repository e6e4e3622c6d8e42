"""The benchmarks by name. To add one: a module with `run(options) -> list[Table]`, and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.options import Options
from benchmarks.report import Table


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be asked for.

    Attributes:
        module: Has `run(options) -> list[Table]`; imported when the benchmark runs.
        about: One line for the help text.
    """

    module: str
    about: str

    def run(self, options: Options) -> list[Table]:
        """Run it."""
        run: Callable[[Options], list[Table]] = importlib.import_module(self.module).run
        return run(options)


BENCHMARKS = {
    "reference": Benchmark("benchmarks.reference", "the notebook's recipe beside pairsim's: epochs, index, quality"),
    "quality": Benchmark("benchmarks.mnist_quality", "what pairsim train mnist reaches, over seeds"),
    "sampling": Benchmark("benchmarks.sampling", "drawing pairs"),
    "index": Benchmark("benchmarks.index", "indexing labels: seconds and memory"),
    "import": Benchmark("benchmarks.import_time", "what `import pairsim` adds to `import torch`"),
}
