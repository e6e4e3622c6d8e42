"""Wheel and source archive hold what they should and nothing else, and the wheel works where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "RELEASING.md",
    "SECURITY.md",
    "mkdocs.yml",
    "PKG-INFO",
    "pyproject.toml",
    ".gitignore",
}
FOLDERS = {"src", "tests", "benchmarks", "examples", "docs"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("hatchling") is None, reason="needs hatchling: pip install 'pairsim[test]'"),
    pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs a git checkout"),
]


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def build(source: Path, out: Path, *targets: str) -> None:
    options = [part for target in targets for part in ("-t", target)]
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *options, "-d", str(out)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    for name in tracked():
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / "tree" / name)
    build(folder / "tree", folder / "dist", "sdist", "wheel")
    return folder


def wheel_of(folder: Path) -> Path:
    (found,) = folder.glob("*.whl")
    return found


def test_wheel_is_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(wheel_of(built / "dist")) as wheel:
        names = set(wheel.namelist())
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(metadata_name).decode())
        scripts = wheel.read(metadata_name.replace("METADATA", "entry_points.txt")).decode()
    package = {name for name in names if ".dist-info/" not in name}
    assert package == {name.removeprefix("src/") for name in tracked() if name.startswith("src/pairsim/")}
    assert {"pairsim/py.typed", "pairsim/report/templates/page.css", "pairsim/report/templates/page.js"} <= package
    assert "pairsim = pairsim.cli:main" in scripts
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    extras = {"viz", "table", "digits", "timm", "faiss", "onnx", "hub", "app", "demo", "test", "docs"}
    assert extras <= set(metadata.get_all("Provides-Extra") or ())
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_source_archive_holds_what_is_tracked(built: Path) -> None:
    (path,) = (built / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        made = [archive.extractfile(entry) for entry in archive if entry.name.endswith(("PKG-INFO", ".toml", ".json"))]
        contents = [file.read() for file in made if file is not None]
    assert contents
    assert not any(str(folder).encode() in content for content in contents for folder in (built, ROOT))
    tops = {name.partition("/")[0] for name in names}
    assert tops - FOLDERS <= TOP
    assert tops >= FOLDERS
    assert {name for name in names if "/" in name} == {
        name for name in tracked() if name.partition("/")[0] in FOLDERS and "/" in name
    }


def test_source_archive_builds_the_same_wheel(built: Path) -> None:
    (path,) = (built / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        if hasattr(tarfile, "data_filter"):  # not in Python 3.11.0 to 3.11.3
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(built / "unpacked")
    (tree,) = (built / "unpacked").iterdir()
    build(tree, built / "again", "wheel")
    with zipfile.ZipFile(wheel_of(built / "dist")) as one, zipfile.ZipFile(wheel_of(built / "again")) as other:
        first, second = ({info.filename: info.CRC for info in wheel.infolist()} for wheel in (one, other))
    assert first == second


def test_wheel_works_where_it_is_installed(built: Path) -> None:
    home = built / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=120)
    python = home / "bin" / "python"
    command = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel_of(built / "dist")]
    subprocess.run([str(part) for part in command], check=True, timeout=120)
    (packages,) = home.glob("lib/python*/site-packages")
    # what it depends on is taken from this environment, after the new one's own
    (packages / "others.pth").write_text("\n".join(path for path in site.getsitepackages() if Path(path).is_dir()))
    work = built / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PAIRSIM_DATA")}
    environment["OMP_NUM_THREADS"] = "1"

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(python), *arguments], cwd=work, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import pairsim; print(pairsim.__file__)").strip() == str(packages / "pairsim" / "__init__.py")
    assert json.loads(run("-m", "pairsim", "doctor", "--json"))
    run("-m", "pairsim", "demo", "--epochs", "1", "--out", "demo")
    assert (work / "demo" / "report.html").is_file()
