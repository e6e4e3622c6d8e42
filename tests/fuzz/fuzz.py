"""Fuzz a reader, guided by coverage: `python -m tests.fuzz.fuzz image -max_total_time=600`.

It needs the package atheris. Options are those of libFuzzer. Inputs that reach new code are added to
`tests/fuzz/corpus/READER`; one that fails is written to the current folder.
"""

from __future__ import annotations

import sys
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
    from tests.fuzz import fuzz_targets


def main() -> None:
    """Fuzz the reader that is named first."""
    name = sys.argv.pop(1)
    place = fuzz_targets.CORPUS / name
    warnings.simplefilter("ignore")
    defaults = ["-timeout=30", "-rss_limit_mb=4096", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *defaults, *sys.argv[1:], str(place)], partial(fuzz_targets.run, name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
