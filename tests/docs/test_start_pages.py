"""Commands and lists on README and docs/index.md match the command line and the extras; README links have a target."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from pairsim.cli.app import make_app

ROOT = Path(__file__).parents[2]
README, INDEX = ROOT / "README.md", ROOT / "docs" / "index.md"
FOR_CONTRIBUTORS = {"test", "docs", "bench", "browser", "notebook", "service-test"}


def commands_in(page: Path) -> list[str]:
    """The pairsim commands in shell blocks and in the first column of tables."""
    text = page.read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
    return [
        *re.findall(r"(?:^|&& )(pairsim .*)$", blocks, flags=re.MULTILINE),
        *re.findall(r"^\| `(pairsim .*?)` \|", text, flags=re.MULTILINE),
    ]


COMMANDS = [
    pytest.param(command, id=f"{page.stem}-{command}") for page in (README, INDEX) for command in commands_in(page)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    make_app().parse_args(shlex.split(command, comments=True)[1:], exit_on_error=False, print_error=False)


def test_commands_are_found() -> None:
    assert len(commands_in(README)) == 6
    assert len(commands_in(INDEX)) > 20


def test_every_command_is_listed() -> None:
    listed = set(re.findall(r"^\| `pairsim ([\w-]+)", INDEX.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert listed == {name for name in make_app() if not name.startswith("-")}


def test_every_extra_is_listed() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    section = INDEX.read_text(encoding="utf-8").partition("## Optional packages\n")[2]
    assert set(re.findall(r"^\| `([\w-]+)` \|", section, flags=re.MULTILINE)) == set(extras) - FOR_CONTRIBUTORS


def test_links_of_the_readme_have_a_target() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        assert (ROOT / name).is_file(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, link


def test_pictures_have_a_description() -> None:
    for page in (README, INDEX):
        pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
        assert pictures
        assert all(len(description) > 15 for description, _ in pictures)
