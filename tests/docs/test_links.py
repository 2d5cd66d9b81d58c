"""Each link of the pages leads somewhere, as they are read in the repository."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import PurePosixPath
from typing import Final

import pytest
from scripts.docs.pages import ROOT, links, outside_code, place_of, target_of

SITE: Final = re.findall(r"^site_url: (\S+)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)[0]

_FOLDERS: Final = (PurePosixPath("examples"),)

PAGES: Final = sorted(
    PurePosixPath(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("tests/*/*.md")]
)
PROJECT_PAGES: Final = [*(page for page in PAGES if len(page.parts) == 1), *_FOLDERS]
DOCS: Final = {page for page in PAGES if page.parts[0] == "docs"}


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@cache
def anchors(page: PurePosixPath) -> frozenset[str]:
    """Return the anchors of a page; the second heading of the same text is `text-1`."""
    prose = outside_code((ROOT / page).read_text(), str, code=False)
    headings = re.findall(r"^#+ +(.+)$", prose, re.MULTILINE)
    found: list[str] = []
    for name in map(slug, headings):
        before = sum(name == slug(heading) for heading in headings[: len(found)])
        found.append(f"{name}-{before}" if before else name)
    return frozenset(found)


def broken(page: PurePosixPath) -> list[str]:
    return [link for link in links((ROOT / page).read_text()) if not leads_somewhere(link, page)]


def page_of_site(link: str) -> PurePosixPath | None:
    """Return the file that an address of the site shows; None if there is none."""
    path = link.removeprefix(SITE).partition("#")[0].strip("/")
    if path.startswith("project/"):
        places = [place_of(each) for each in PROJECT_PAGES]
        names = {each.parent if each.stem == "README" else each.with_suffix("") for each in places}
        return PurePosixPath(path) if PurePosixPath(path) in names else None
    candidates = (path, f"{path}.md", f"{path}/README.md")
    files = [PurePosixPath("docs", name) for name in candidates]
    return next((file for file in files if (ROOT / file).is_file()), None)


def test_the_readme_is_read_elsewhere_too_so_its_links_are_addresses_of_the_site() -> None:
    found = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text())
    assert 20 < len(found)
    assert [] == [link for link in found if not link.startswith(SITE) or not page_of_site(link)]
    assert page_of_site(f"{SITE}demo.svg") == PurePosixPath("docs/demo.svg")
    assert page_of_site(f"{SITE}findings/") == PurePosixPath("docs/findings/README.md")
    assert page_of_site(f"{SITE}no-such-page/") is None
    assert page_of_site(f"{SITE}project/no-such-page/") is None


def test_the_addresses_of_the_project_are_those_of_the_site() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [] == [url for url in project["urls"].values() if not url.startswith(SITE)]
    pages = [url for url in project["urls"].values() if url != SITE]
    assert [] == [url for url in pages if page_of_site(url) is None]


def leads_somewhere(link: str, page: PurePosixPath) -> bool:
    target = target_of(link, page)
    anchor = link.partition("#")[2]
    return (ROOT / target).exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_each_link_leads_to_what_exists(page: PurePosixPath) -> None:
    assert [] == broken(page)


def test_a_link_to_nothing_is_found() -> None:
    page = PurePosixPath("docs/pools.md")
    assert leads_somewhere("findings/README.md", page)
    assert leads_somewhere("#asyncpg", page)
    assert not leads_somewhere("finding/README.md", page)
    assert not leads_somewhere("#psycopg", page)
    assert not leads_somewhere("exporter.md#psycopg", page)


def test_a_link_in_a_block_of_code_is_none() -> None:
    assert ["b"] == links("```python\n[a](a)\n```\n[b](b) [c](https://example.org)\n")


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("What it is for", "what-it-is-for"),
        ("prometheus_client's multiprocess mode", "prometheus_clients-multiprocess-mode"),
        ("`/metrics` in a framework", "metrics-in-a-framework"),
        ("One - two", "one---two"),
    ],
)
def test_anchors_are_those_of_github(heading: str, anchor: str) -> None:
    assert anchor == slug(heading)


def test_each_page_of_the_documentation_can_be_reached() -> None:
    left, reached = [PurePosixPath("docs/index.md")], set[PurePosixPath]()
    while left:
        page = left.pop()
        if page in DOCS and page not in reached:
            reached.add(page)
            left += [target_of(link, page) for link in links((ROOT / page).read_text())]
    assert set() == DOCS - reached
