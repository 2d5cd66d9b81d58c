"""The site of the documentation is built without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import html.parser
import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import expect
from scripts.docs.hooks import FORWARDED
from scripts.docs.pages import ROOT

from support.browsers import opened_tab

LOADING: Final = {"script": "src", "img": "src", "iframe": "src", "source": "src"}


PAGES: Final = ("", "quickstart/", "runbooks/ConnPoolExhausted/", "reference/api/")
"""What is looked at in a browser; the pictures are in test-pictures/."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder; return the URL."""
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it: strictly."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return folder


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with served(site) as url:
        yield url


NAMING: Final = ("canonical", "next", "prev")
"""Links that say where pages are. Browsers load nothing for them."""


class Loads(html.parser.HTMLParser):
    """What a page loads from other hosts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.foreign: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("rel") in NAMING:
            return
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


@pytest.mark.parametrize("width", [1280, 390])
async def test_no_page_is_wider_than_the_screen(url: str, width: int) -> None:
    async with opened_tab(url, viewport={"width": width, "height": 900}) as tab:
        for path in PAGES:
            await tab.page.goto(url + path)
            await expect(tab.page.locator("h1").first).to_be_visible()
            too_wide = "document.documentElement.scrollWidth - window.innerWidth"
            assert 0 == await tab.page.evaluate(too_wide), path
            await tab.picture(f"docs-{path.replace('/', '-')}{width}")
        assert ([], {url.split("/")[2]}) == (tab.complaints, tab.hosts)


async def test_the_search_and_a_link_of_an_alert(url: str) -> None:
    async with opened_tab(url) as tab:
        await tab.page.get_by_placeholder("Search").first.click()
        await tab.page.keyboard.type("QueuePool limit reached")
        results = tab.page.locator("a.md-search-result__link")
        await expect(results.first).to_have_attribute("href", re.compile("errors/queuepool-limit/"))
        assert {url.split("/")[2]} == tab.hosts

        await tab.page.goto(f"{url}runbooks/ConnPoolExhausted.md")
        await tab.page.wait_for_url(f"{url}runbooks/ConnPoolExhausted/")
