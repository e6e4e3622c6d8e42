"""Every snippet and example that a reader can copy runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pairsim
from pairsim._common.choices import Split
from pairsim.data import ImageTensors
from pairsim.data.named import digits
from pairsim.data.splits import hold_out_test

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SNIPPETS = [
    pytest.param(snippet, id=f"{page.name}-{number}")
    for page in PAGES
    for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pairsim.__path__, "pairsim.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every third digit, and for one epoch."""

    def fewer(images: ImageTensors, split: Split) -> ImageTensors:
        found: ImageTensors = hold_out_test(ImageTensors(images.images[::3], images.targets[::3]), split)
        return found

    monkeypatch.setattr(digits, "hold_out_test", fewer)
    monkeypatch.chdir(tmp_path)
    shorter = re.sub(r"\bepochs=\d+", "epochs=1", snippet)
    exec(compile(shorter, "snippet", "exec", dont_inherit=True), {"__name__": "snippet"})


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 20


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert failed == 0


# what each example must print; onnx_runtime.py and distributed.py have tests of their own
PRINTED = {
    "quick_start.py": ["balanced accuracy", "similarity "],
    "custom_backbone.py": ["features of the backbone: 512", "balanced accuracy"],
    "custom_objective.py": ["projection: ", "balanced accuracy"],
    "own_folder.py": ["320 pictures to train on, 80 held out, 10 classes", "balanced accuracy", "similarity"],
    "hard_pairs.py": ["hard_pairs=0: EER", "hard_pairs=1: EER"],
    "calibrated_decisions.py": ["for FMR of at most 0.01", "similarity ", "where 10 %", "where 50 %"],
    "search.py": ["nearest are", "right by vote of 5 neighbors"],
    "resume.py": ["stopped after epoch 1 of 2", "weights equal"],
    "export_onnx.py": ["model.onnx: ", "int8", "model-int8.onnx, "],
}
ELSEWHERE = {
    "onnx_runtime.py": "tests/unit/export/test_onnx_runtime_example.py",
    "distributed.py": "tests/unit/training/distributed/test_several_processes.py",
    "mnist_similarity.py": "tests/docs/test_notebook.py",
}


def run_example(name: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_somewhere() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == PRINTED.keys() | ELSEWHERE.keys()
    for where in ELSEWHERE.values():
        assert (ROOT / where).is_file()
    print(f"{len(SNIPPETS)} snippets and {len(PRINTED) + len(ELSEWHERE)} examples run")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRINTED))
def test_example_runs(name: str, tmp_path: Path) -> None:
    printed = run_example(name, "--epochs", "1", cwd=tmp_path)
    for expected in PRINTED[name]:
        assert expected in printed


@pytest.mark.parametrize("name", sorted(PRINTED.keys() | ELSEWHERE.keys() - {"mnist_similarity.py"}))
def test_example_says_how_to_run_it(name: str) -> None:
    assert name in (ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))) or "")


def test_version_is_the_newest_in_the_changelog() -> None:
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    declared = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert newest is not None
    assert declared is not None
    assert pairsim.__version__ == declared[1] == newest[1]
