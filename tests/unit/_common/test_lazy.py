from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import pairsim
import pairsim.training

SOURCE = '''"""A package."""

from typing import TYPE_CHECKING

from pairsim._common import lazy

if TYPE_CHECKING:
    from {name}.shapes import square as square
    from {name}.shapes import Circle as Circle
else:
    __all__, __dir__, __getattr__ = lazy.exports(__name__)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a package with a lazy module `shapes` and a module `colours` that it does not list."""
    name = "lazy_package_for_tests"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(SOURCE.format(name=name))
    (folder / "shapes.py").write_text("class Circle: ...\n\n\ndef square(): ...\n")
    (folder / "colours.py").write_text("RED = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    return name


def test_exports_are_imported_on_first_use(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == ["Circle", "square"]
    assert {"Circle", "square"} <= set(dir(module))
    assert f"{package}.shapes" not in sys.modules
    circle = module.Circle
    assert circle is sys.modules[f"{package}.shapes"].Circle
    assert vars(module)["Circle"] is circle


def test_star_import_gives_all_exports(package: str) -> None:
    names: dict[str, object] = {}
    exec(f"from {package} import *", names)
    assert {"Circle", "square"} <= set(names)


def test_submodules_are_attributes(package: str) -> None:
    assert importlib.import_module(package).colours.RED == 1


def test_unknown_names_raise(package: str) -> None:
    module = importlib.import_module(package)
    for name in ("Square", "_circle", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"module '{package}' has no attribute '{name}'"):
            getattr(module, name)


def test_a_package_without_source_is_rejected(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.machinery import SourceFileLoader

    monkeypatch.setattr(SourceFileLoader, "get_source", lambda *_: None)
    with pytest.raises(ImportError, match=f"Expected the source of {package}"):
        importlib.import_module(package)


@pytest.mark.parametrize("module", [pairsim, pairsim.training])
def test_no_export_has_the_name_of_a_submodule(module: object) -> None:
    """Importing the submodule would replace the export."""
    (folder,) = module.__path__  # type: ignore[attr-defined]
    assert not {path.stem for path in Path(folder).iterdir()} & set(module.__all__)  # type: ignore[attr-defined]
