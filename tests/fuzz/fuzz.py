"""Fuzz a reader, guided by coverage: `python -m tests.fuzz.fuzz image -max_total_time=600`.

It needs the package atheris. Options are those of libFuzzer. Inputs that reach new code are added to
`tests/fuzz/corpus/READER`; one that fails is written to the current folder.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

with atheris.instrument_imports(include=["PIL", "csv", "json", "tomllib"]):
    import tomllib  # noqa: F401  # before another package imports it

    from PIL import Image

    Image.init()

import cyclopts  # noqa: F401  # imported before pairsim, so that only pairsim is instrumented
import torch  # noqa: F401

with atheris.instrument_imports(include=["pairsim"]):
    from tests.fuzz import fuzz_targets, json_mutator

OF_JSON = ("json", "log", "checkpoint", "model", "weights", "gallery")


def change_bytes(content: bytes, max_size: int) -> bytes:
    """Change an input as libFuzzer does by itself; `atheris.Mutate` is another function after `atheris.Fuzz`."""
    changed: bytes = atheris.Mutate(content, max_size)
    return changed


def main() -> None:
    """Fuzz the reader that is named first."""
    name = sys.argv.pop(1)
    warnings.simplefilter("ignore")
    sample = fuzz_targets.sample_of(name)
    defaults = ["-timeout=30", "-rss_limit_mb=4096", f"-max_len={max(4096, len(sample) + 100)}"]
    with tempfile.TemporaryDirectory() as samples:
        Path(samples, "sample").write_bytes(sample)
        atheris.Setup(
            [sys.argv[0], *defaults, *sys.argv[1:], str(fuzz_targets.CORPUS / name), samples],
            partial(fuzz_targets.run, name),
            custom_mutator=partial(json_mutator.mutate, change_bytes=change_bytes) if name in OF_JSON else None,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
