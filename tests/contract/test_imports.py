"""Imports go one way, as the table in the architecture page states; the package is light to import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pairsim

SOURCE = Path(pairsim.__file__).parent
ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"
MAX_ROWS, MAX_ENTRIES, MAX_LINES = 12, 14, 400


def import_rows() -> dict[str, int]:
    """The row of each package in the architecture page's table of imports."""
    page = ARCHITECTURE.read_text(encoding="utf-8")
    table = page.split("<!-- import-rows:begin -->")[1].split("<!-- import-rows:end -->")[0]
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", table, flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    return {name: int(number) for number, packages in rows for name in re.findall(r"`(\w+)`", packages)}


ROWS = import_rows()


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for file in sorted(SOURCE.rglob("*.py")):
        parts = ("pairsim", *file.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = file
    return found


def exports_lazily(source: str) -> bool:
    """Whether a package imports on first use what it lists under `if TYPE_CHECKING:`."""
    return "lazy.exports(__name__)" in source


@cache
def imports_of(file: Path) -> frozenset[str]:
    """Modules of pairsim that a file imports, at once or lazily; imports for type checkers alone do not count."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    skipped = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not exports_lazily(text)
        for child in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in modules() else node.module)
    return frozenset(name for name in found if name.split(".")[0] == "pairsim")


def package_of(module: str) -> str:
    """The entry of `src/pairsim` that a module belongs to; `""` for the front page."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_the_table_is_short_and_names_every_package() -> None:
    assert max(ROWS.values()) <= MAX_ROWS
    entries = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert entries - {"__pycache__", "__init__", "__main__"} == set(ROWS)


@pytest.mark.parametrize("package", sorted(ROWS))
def test_imports_go_one_way(package: str) -> None:
    wrong = []
    for module, file in modules().items():
        if package_of(module) != package:
            continue
        for imported in imports_of(file):
            other = package_of(imported)
            # The command line prints the version, which is on the front page.
            allowed = package == "cli" if other == "" else other == package or ROWS[other] < ROWS[package]
            if not allowed:
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


def test_there_are_no_circular_imports() -> None:
    TopologicalSorter({module: imports_of(file) - {module} for module, file in modules().items()}).prepare()


def test_top_level_holds_packages_only() -> None:
    loose = {path.name for path in SOURCE.iterdir() if path.is_file()}
    assert loose == {"__init__.py", "__main__.py", "errors.py", "py.typed"}


def test_packages_and_modules_are_small() -> None:
    folders = [SOURCE, *(path for path in SOURCE.rglob("*") if path.is_dir() and path.name != "__pycache__")]
    full = {str(folder): n for folder in folders if (n := len(entries_of(folder))) > MAX_ENTRIES and folder != SOURCE}
    long = {m: n for m, file in modules().items() if (n := len(file.read_text("utf-8").splitlines())) > MAX_LINES}
    assert (full, long) == ({}, {})


def entries_of(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name not in ("__pycache__", "__init__.py")]


def test_module_names_are_unique() -> None:
    names = [module.rpartition(".")[2] for module, file in modules().items() if file.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


def test_lazy_exports_count_as_imports() -> None:
    assert "pairsim.training.trainer" in imports_of(modules()["pairsim.training"])


def loaded_by(statement: str, packages: list[str]) -> list[str]:
    """The packages that a statement imports in a new process."""
    code = f"import sys\n{statement}\nprint(*[name for name in {packages} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_heavy_packages_are_imported_when_used() -> None:
    heavy = [
        *("torch._dynamo", "torchvision", "matplotlib", "pandas", "sklearn", "scipy", "PIL", "cyclopts"),
        *("timm", "faiss", "onnx", "onnxruntime", "gradio", "tensorboard", "huggingface_hub"),
        *("fastapi", "uvicorn", "prometheus_client"),
    ]
    assert loaded_by("from pairsim import *", heavy) == []


@pytest.mark.parametrize("module", ["pairsim", "pairsim.training.config", "pairsim.cli.app"])
def test_imported_without_torch(module: str) -> None:
    assert loaded_by(f"import {module}", ["torch", "numpy", "torchvision"]) == []
