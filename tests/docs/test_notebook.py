"""The notebook runs from top to bottom, and is the script that it is paired with."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT, NOTEBOOK = EXAMPLES / "mnist_similarity.py", EXAMPLES / "mnist_similarity.ipynb"
ABSENT = [name for name in ("jupytext", "nbclient", "ipykernel") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"needs {', '.join(ABSENT)}: pip install 'pairsim[notebook]'")

FIGURES = 13


def read(path: Path) -> Any:
    import jupytext

    return jupytext.read(path)


def sources(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def pictures(notebook: Any) -> int:
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


def test_notebook_is_its_script() -> None:
    assert sources(read(NOTEBOOK)) == sources(read(SCRIPT))


def test_committed_outputs_are_of_a_whole_run_in_order() -> None:
    cells = [cell for cell in read(NOTEBOOK).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert pictures(read(NOTEBOOK)) == FIGURES
    text = NOTEBOOK.read_text()
    assert "Traceback" not in text
    assert "49,995,000 pairs" in text  # MNIST, all test pairs
    assert "/home/" not in text
    assert "/work" not in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's packages
def test_runs_on_a_small_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("PAIRSIM_NOTEBOOK_DATA", "digits")
    monkeypatch.setenv("PAIRSIM_NOTEBOOK_EPOCHS", "3")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = read(SCRIPT)
    place = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=170, kernel_name="python3", resources=place)
    asyncio.run(client.async_execute())  # unlike `execute`, it leaves no event loop open
    assert pictures(notebook) == FIGURES
    assert (tmp_path / "runs" / "notebook-digits" / "calibrated" / "config.json").is_file()
