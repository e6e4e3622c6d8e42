"""What contributors read is true: each path is there, and each target, option and version."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

import pairsim

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
PAGES = [
    *(ROOT / name for name in ("CONTRIBUTING.md", "RELEASING.md", ".github/PULL_REQUEST_TEMPLATE.md")),
    *(ROOT / "docs" / "decisions").glob("*.md"),
]
MADE = {"site/", "MNIST/raw", "mnist/MNIST/raw", "build/release"}  # not in the repository


def in_backticks(page: Path) -> list[str]:
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


def paths_in(page: Path) -> set[str]:
    """What is in backticks and looks like a path: a slash or a known suffix, and nothing that paths do not have."""
    return {
        text
        for text in in_backticks(page)
        if re.fullmatch(r"[\w./-]+", text) and ("/" in text or re.search(r"\.(py|md|yml|toml|json)$", text))
    } - MADE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_is_there(page: Path) -> None:
    absent = {path for path in paths_in(page) if not (ROOT / path).exists() and not (page.parent / path).exists()}
    assert absent == set()


def test_paths_are_found() -> None:
    assert {"mkdocs.yml", "docs/decisions/README.md", "src/pairsim/errors.py"} <= paths_in(ROOT / "CONTRIBUTING.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_and_module_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", text)) <= targets
    for module in set(re.findall(r"python -m ([\w.]+)", text)) - {"venv", "twine", "hatchling"}:
        assert importlib.util.find_spec(module) is not None, module


def test_every_target_is_explained() -> None:
    targets = set(re.findall(r"^([\w-]+):.*", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([\w-]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert named == targets


def test_every_extra_and_benchmark_is_there() -> None:
    from benchmarks.registry import BENCHMARKS

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + (ROOT / "RELEASING.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = {name for found in re.findall(r"(?:\.|wheel)\[([\w,]+)\]", text) for name in found.split(",")}
    assert asked
    assert asked <= set(extras)
    asked = set(re.findall(r"`python -m benchmarks ([\w-]+)`", text))
    assert asked
    assert asked <= set(BENCHMARKS)


def test_versions_agree() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    headings = re.findall(r"^## \[([^\]]+)\](.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    released = [(name, rest) for name, rest in headings if name != "Unreleased"]
    assert pairsim.__version__ == stated == released[0][0]
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", rest) for _, rest in released)


def test_decisions_are_numbered_listed_and_whole() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\]\((\d{4}[\w-]+\.md)\)", index)
    assert listed == [page.name for page in DECISIONS]
    for page in DECISIONS:
        text = page.read_text(encoding="utf-8")
        headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "What was measured"], page.name
        title = re.match(r"# (\d+)\. (.+)\n", text)
        assert title is not None
        assert int(title[1]) == int(page.name[:4])
        assert title[2] in index


def test_what_was_measured_names_its_file() -> None:
    for page in DECISIONS:
        measured = page.read_text(encoding="utf-8").partition("## What was measured\n")[2]
        if re.search(r"\d", re.sub(r"`[^`]+`", "", measured)):
            assert re.search(r"`benchmarks/results/[\w-]+\.json`", measured), page.name


def test_templates_and_workflows_are_well_formed() -> None:
    yaml = pytest.importorskip("yaml")
    forms = ROOT / ".github" / "ISSUE_TEMPLATE"
    for name in ("bug_report.yml", "feature_request.yml"):
        form = yaml.safe_load((forms / name).read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form)
        ids = [part["id"] for part in form["body"]]
        assert len(ids) == len(set(ids))
        assert all(part["type"] == "textarea" and part["attributes"]["label"] for part in form["body"])
        assert (name == "bug_report.yml") == ("doctor" in ids)
        asked = {part["id"] for part in form["body"] if part.get("validations", {}).get("required")}
        assert asked >= ({"example", "doctor"} if "doctor" in ids else {"need"})
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert ".ci/run" in [step.get("run") for step in jobs["check"]["steps"]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tested = {
        f"Programming Language :: Python :: {version}" for version in jobs["check"]["strategy"]["matrix"]["python"]
    }
    assert tested == {line for line in project["classifiers"] if re.search(r"Python :: 3\.", line)}
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]  # nothing is downloaded
    assert all(hook["language"] == "system" for hook in hooks[0]["hooks"])
