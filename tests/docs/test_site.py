"""The site of the documentation is built without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import html.parser
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from scripts.docs.hooks import FORWARDED
from scripts.docs.pages import ROOT

LOADING: Final = {"script": "src", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it: strictly."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return folder


class Loads(html.parser.HTMLParser):
    """What a page loads from other hosts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.foreign: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get("href" if tag == "link" else LOADING.get(tag, ""))
        if address is not None and address.startswith(("http:", "https:", "//")):
            self.foreign.append(address)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert pages
    assert [] == [foreign for page in pages for foreign in Loads(page.read_text()).foreign]
    assert [] == [str(style) for style in site.rglob("*.css") if "url(http" in style.read_text()]


def test_a_page_that_loads_from_elsewhere_is_found() -> None:
    assert ["//a/b.js"] == Loads("<a href='https://c'><script src='//a/b.js'></script>").foreign


@pytest.mark.parametrize("folder", FORWARDED)
def test_links_of_alerts_and_dashboards_lead_to_their_pages(site: Path, folder: str) -> None:
    for source in (ROOT / "docs" / folder).glob("*.md"):
        if source.stem != "README":
            assert (site / folder / source.stem / "index.html").is_file()
            forward = (site / folder / source.name / "index.html").read_text()
            assert f'content="0; url=../{source.stem}/"' in forward


def test_the_api_has_its_docstrings(site: Path) -> None:
    page = (site / "reference" / "api" / "index.html").read_text()
    for text in (
        "Watch a pool, and return its",
        "<strong>leak_after</strong>",
        "oldest_hold_seconds",
    ):
        assert text in page


def test_the_quickstart_has_tabs(site: Path) -> None:
    page = (site / "quickstart" / "index.html").read_text()
    for title in ("FastAPI", "Flask, gunicorn", "Many workers"):
        assert re.search(f"<label for=.*>{title}</label>", page)
    assert "<!-- tabs -->" not in page
