"""Imports go one way, and the package is light to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pairsim

SOURCE = Path(pairsim.__file__).parent
# Each layer may import itself and the layers before it; those that share a number do not import each other.
LAYERS = {
    "errors": 0, "storage": 1, "images": 2, "data": 3, "models": 3, "evaluation": 3,
    "markdown": 3, "encoding": 4, "exact_search": 4, "faiss_search": 5, "gallery_ids": 5, "gallery_results": 6,
    "gallery_files": 7, "training": 5, "scoring": 5, "verification": 6, "calibration": 6, "leaks": 6,
    "label_audit": 6, "gallery": 8, "saliency": 6, "duplicate_report": 6, "duplicates": 7, "pair_verdicts": 6,
    "run_records": 7, "card_limits": 8, "model_cards": 9, "hub": 10, "visual": 11, "export": 11, "report": 12,
    "tensorboard_log": 12, "web_app": 13, "cli": 14, "__init__": 15, "__main__": 16,
}  # fmt: skip
# The package's front page joins all that is below the command line, which uses it.
FRONT = {"cli": {"__init__"}, "__main__": {"cli"}}


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{alias.name}" if node.module == "pairsim" else node.module for alias in node.names
            }
    return {name for name in found if name.split(".")[0] == "pairsim"}


def test_imports_go_one_way() -> None:
    wrong = []
    for file in sorted(SOURCE.rglob("*.py")):
        own = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        for name in imports_of(file):
            other = layer_of(name)
            if other not in LAYERS:  # a name of the front page, such as its version
                other = "__init__"
            allowed = other == own or LAYERS[other] < LAYERS[own] or other in FRONT.get(own, set())
            if not allowed:
                wrong.append(f"{file.relative_to(SOURCE)} imports {name}")
    assert wrong == []


def test_every_module_has_a_layer() -> None:
    names = {entry.name.removesuffix(".py") for entry in SOURCE.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    assert names - {"__pycache__"} == set(LAYERS) | set()


def test_heavy_packages_are_imported_when_used() -> None:
    heavy = [
        *("torchvision", "matplotlib", "pandas", "sklearn", "scipy", "PIL", "cyclopts"),
        *("timm", "faiss", "onnx", "onnxruntime", "gradio", "tensorboard", "huggingface_hub"),
    ]
    code = f"import sys, pairsim; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_read_in_one_sitting() -> None:
    long = {str(f.relative_to(SOURCE)): n for f in SOURCE.rglob("*.py") if (n := len(f.read_text().splitlines())) > 450}
    assert long == {}
