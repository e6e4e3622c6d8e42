"""The site builds without a warning and without a network, and every link and anchor inside it leads somewhere."""

from __future__ import annotations

import importlib
import inspect
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from built_site import SITE_MISSING, built_site

import pairsim.errors

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(SITE_MISSING), reason=SITE_MISSING),
]
PACKAGES = (
    *("pairsim", "pairsim.data", "pairsim.images", "pairsim.models", "pairsim.training", "pairsim.evaluation"),
    *("pairsim.visual", "pairsim.export", "pairsim.report"),
)


class Links(HTMLParser):
    """Where a page leads, what it loads, and which anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "shortcut icon"):
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_site(tmp_path_factory)


def test_usage_lines_are_commands_that_users_type(site: Path) -> None:
    page = (site / "reference/command-line/index.html").read_text(encoding="utf-8")
    usages = re.findall(r"pairsim [^<\n]*\[OPTIONS\][^<\n]*", page)
    assert len(usages) > 20
    assert "pairsim demo [OPTIONS]" in usages
    assert [usage for usage in usages if " -m " in usage] == []


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    pages = {
        path.relative_to(site).as_posix(): Links(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }
    broken, followed = [], 0
    for name, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("javascript:"):
                continue
            followed += 1
            target = unquote(urlsplit(urljoin(f"/{name}", link)).path).lstrip("/")
            place = target if not (site / target).is_dir() else f"{target.rstrip('/')}/index.html".lstrip("/")
            if not (site / place).is_file():
                broken.append(f"{name} -> {link}")
            elif parts.fragment and place in pages and unquote(parts.fragment) not in pages[place].anchors:
                broken.append(f"{name} -> {link} (no such anchor)")
    print(f"{len(pages)} pages, {followed} links")
    assert broken == []
    assert len(pages) > 25
    assert followed > 1000


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = {
        f"{path.relative_to(site)}: {source}"
        for path in site.rglob("*.html")
        for source in Links(path.read_text(encoding="utf-8")).loaded
        if urlsplit(source).netloc
    }
    assert loaded == set()


def described_names(site: Path) -> dict[str, str]:
    """Each name of the reference, with its page."""
    from sphinx.util.inventory import InventoryFile

    with (site / "api" / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, place: place)
    return {
        name: item.uri.partition("#")[0]
        for kind, items in inventory.items()
        if kind.startswith("py:")
        for name, item in items.items()
    }


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    """A name may be documented where another package exports it, or as a type alias without a package."""
    described = described_names(site)
    places: dict[str, list[str]] = {}
    for name in described:
        places.setdefault(name.rpartition(".")[2], []).append(name)
    exported = {
        f"{package}.{name}": getattr(importlib.import_module(package), name)
        for package in PACKAGES
        for name in importlib.import_module(package).__all__
    }
    exported |= {
        f"pairsim.errors.{name}": value
        for name, value in vars(pairsim.errors).items()
        if inspect.isclass(value) and issubclass(value, pairsim.errors.PairsimError)
    }
    missing = [
        name
        for name, value in exported.items()
        if inspect.isroutine(value) or inspect.isclass(value)
        if name.rpartition(".")[2] not in described
        and not any(
            found(place) is value for place in [name, *places.get(name.rpartition(".")[2], [])] if place in described
        )
    ]
    print(f"{len(exported)} public names, {len(described)} described")
    assert missing == []
    assert len(exported) > 100


def found(place: str) -> object:
    """What a dotted name stands for; `None` where it is no name of a module, such as a method."""
    module, _, name = place.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):  # a method's class, or no dot at all
        return None


def test_the_reference_starts_with_the_main_names_in_order_of_use(site: Path) -> None:
    page = (site / "api" / "pairsim.html").read_text(encoding="utf-8")
    documented = re.findall(r'<dt[^>]* id="pairsim\.(\w+)"', page)
    main = ["PairDataset", "EmbeddingNet", "SimilarityModel", "Trainer", "TrainConfig", "evaluate", "calibrate"]
    assert documented[: len(main) + 1] == [*main, "Gallery"]


def test_public_things_are_described_on_one_page(site: Path) -> None:
    pages: dict[int, set[str]] = {}
    for name, page in described_names(site).items():
        value = found(name)
        if inspect.isroutine(value) or inspect.isclass(value):
            pages.setdefault(id(value), set()).add(f"{name} on {page}")
    assert [names for names in pages.values() if len({name.partition(" on ")[2] for name in names}) > 1] == []
