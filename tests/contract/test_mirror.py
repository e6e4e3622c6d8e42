"""Every module has a test file of its own, in the folder of the same name."""

from __future__ import annotations

import ast
from pathlib import Path

import pairsim

SOURCE = Path(pairsim.__file__).parent
TESTS = Path(__file__).parents[1]


def mirror_of(module: Path) -> Path:
    """`cli/a/b.py` is tested in `tests/cli/a/test_b.py`, any other `a/b.py` in `tests/unit/a/test_b.py`."""
    inside = module.relative_to(SOURCE)
    folder = TESTS if inside.parts[0] == "cli" else TESTS / "unit"
    return folder / inside.with_name(f"test_{inside.name}")


def has_tests(file: Path) -> bool:
    if not file.is_file():
        return False
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in ast.walk(tree))


def test_every_module_has_its_test_file() -> None:
    modules = [file for file in SOURCE.rglob("*.py") if file.name not in ("__init__.py", "__main__.py")]
    assert len(modules) > 150
    missing = [str(mirror_of(module)) for module in sorted(modules) if not has_tests(mirror_of(module))]
    assert missing == []


def test_names_of_test_files_are_unique() -> None:
    names = [file.name for file in TESTS.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))  # pytest imports test files by name
