from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pairsim.errors import (
    DataError,
    ImageReadError,
    MissingExtraError,
    PairsimError,
    advising_smaller_batches,
    is_out_of_memory,
    printable,
    require,
)

TOO_MUCH = 10**15


def test_missing_extras_are_named() -> None:
    with pytest.raises(MissingExtraError, match=r"^Drawing needs the package nonesuch.*pip install 'pairsim\[viz\]'$"):
        require("nonesuch.sub", extra="viz", purpose="Drawing")


def test_a_package_that_fails_inside_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brokenpackage.py").write_text("import another_nonesuch\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="another_nonesuch") as caught:
        require("brokenpackage", extra="viz", purpose="Drawing")
    assert not isinstance(caught.value, PairsimError)


def test_every_error_is_also_a_built_in_kind() -> None:
    for kind in PairsimError.__subclasses__():
        built_in = [
            base
            for base in kind.__mro__
            if base.__module__ == "builtins" and base not in (Exception, BaseException, object)
        ]
        assert built_in, kind


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend",
    ["nonsense", "module://matplotlib_inline.backend_inline", "TkAgg"],
)
def test_figures_are_saved_whatever_backend_was_inherited(backend: str, tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from pairsim.visual import draw_training_curves\n"
        "from pairsim.training.history import EpochRecord, History\n"
        "values = dict(train_loss=0.3, val_loss=0.2, val_balanced_accuracy=0.9, learning_rate=0.01, best=True)\n"
        "draw_training_curves(History([EpochRecord(epoch=1, **values)])).savefig('curves.png')\n"
        "import matplotlib\n"
        "print(os.environ['MPLBACKEND'], matplotlib.rcParams._get('backend'))\n"
    )
    env = {**os.environ, "MPLBACKEND": backend, "DISPLAY": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    named, used = done.stdout.split(maxsplit=1)
    assert named == backend
    assert backend != "TkAgg" or used.strip() == backend  # it is there, and stays the caller's


def test_what_says_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as on_the_cpu:
        torch.empty(TOO_MUCH, dtype=torch.uint8)
    with pytest.raises(MemoryError) as in_numpy:
        np.empty(TOO_MUCH, dtype=np.uint8)
    for error in (on_the_cpu.value, in_numpy.value, MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")):
        assert is_out_of_memory(error)
    for other in (RuntimeError("shape mismatch"), ValueError("can't allocate memory"), OSError(12, "Cannot allocate")):
        assert not is_out_of_memory(other)


@pytest.mark.parametrize(
    ("batch_size", "smallest", "advice"),
    [
        (257, 1, "Batches of 257 need more than there is. Try --batch-size 128, or batch_size=128 in Python."),
        (3, 2, "Batches of 3 need more than there is. Try --batch-size 2, or batch_size=2 in Python."),
        (2, 2, "Batches of 2 need more than there is. Use smaller images or a smaller net."),
        (1, 1, "Batches of 1 need more than there is. Use smaller images or a smaller net."),
    ],
)
def test_half_the_batch_is_advised(batch_size: int, smallest: int, advice: str) -> None:
    with pytest.raises(MemoryError) as caught, advising_smaller_batches(batch_size, smallest):
        raise MemoryError
    assert caught.value.__notes__ == [advice]


def test_other_errors_are_not_changed() -> None:
    with pytest.raises(RuntimeError) as caught, advising_smaller_batches(8):
        raise RuntimeError("shape mismatch")
    assert not hasattr(caught.value, "__notes__")


HOSTILE = "a\x1b[2J\x9b1m\r\n\u202egnp\u2066\u200f\x7f\u2028\ufeff\udce9z"


def test_names_are_printed_without_control_characters() -> None:
    shown = printable(HOSTILE)
    assert shown == r"a\x1b[2J\x9b1m\r\n\u202egnp\u2066\u200f\x7f\u2028\ufeff\udce9z"
    assert shown.isprintable()
    for harmless in ("", "ü 中\u3000文 👩\u200d🔬 می\u200cخواهم\xa0", r"C:\new", "it's"):
        assert printable(harmless) == harmless


@pytest.mark.parametrize("kind", [PairsimError, DataError, ImageReadError, MissingExtraError])
def test_messages_are_one_printable_line(kind: type[PairsimError]) -> None:
    assert str(kind(f"Expected  {HOSTILE}, found")) == (
        r"Expected  a\x1b[2J\x9b1m \u202egnp\u2066\u200f\x7f\u2028\ufeff\udce9z, found"
    )
    assert str(kind("first:\n\tsecond")) == "first: second"
    assert str(pickle.loads(pickle.dumps(kind("a\x1b")))) == r"a\x1b"
