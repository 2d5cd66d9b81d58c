"""The exporter behind a proxy, under a path of its own: every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin

import pytest
from playwright.async_api import expect

from support.browsers import opened_tab
from support.exporters import ExporterProcess
from support.proxies import fetched, nginx
from support.waiting import eventually

UNDER: Final = "/tools/pools/"


class Setup(NamedTuple):
    """A location of nginx for the address of the exporter, and the exporter's options."""

    location: str
    options: tuple[str, ...] = ()


STRIPPED: Final = "location /tools/pools/ {{ proxy_pass {}/; }}"
KEPT: Final = "location /tools/pools {{ proxy_pass {}; }}"
OTHER: Final = "location /tools/pools/ {{ proxy_pass {}/inner/; }}"
CACHED: Final = (
    "location /tools/pools/ {{ proxy_pass {}/; proxy_cache pools; proxy_cache_valid any 1s; "
    "proxy_ignore_headers Cache-Control; }}"
)
EXTERNAL: Final = ("--web.external-url", f"https://example.org{UNDER}")

SETUPS: Final = {
    "it removes the path": Setup(STRIPPED),
    "it removes the path, and the exporter knows": Setup(
        STRIPPED, (*EXTERNAL, "--web.route-prefix", "/")
    ),
    "it keeps the path": Setup(KEPT, EXTERNAL),
    "it keeps the path, which is all that the exporter knows": Setup(
        KEPT, ("--web.route-prefix", "tools/pools")
    ),
    "it has another path for it": Setup(OTHER, (*EXTERNAL, "--web.route-prefix", "/inner")),
    "it caches": Setup(CACHED),
}
IN_A_BROWSER: Final = ("it keeps the path", "it has another path for it", "it caches")
"""The links are the same in all others, and each is tried without a browser."""


@pytest.fixture(params=["tcp", "unix"])
def transport(request: pytest.FixtureRequest) -> str:
    """How nginx reaches the exporter."""
    return str(request.param)


@pytest.fixture(params=SETUPS)
def behind(
    request: pytest.FixtureRequest, transport: str, folder: Path, tmp_path: Path, short_path: Path
) -> Iterator[str]:
    """The URL of an exporter behind nginx, with a slash at its end."""
    setup = SETUPS[request.param]
    socket = f"unix:{short_path / 'exporter.sock'}"
    address = "127.0.0.1:0" if transport == "tcp" else socket
    exporter = ExporterProcess(folder, *setup.options, address=address)
    origin = exporter.log[0]["message"].removeprefix("serving ").removesuffix("/metrics")
    if transport == "tcp":
        origin = "/".join(origin.split("/")[:3])
    else:
        origin = f"http://{socket}" + ("" if setup.location == KEPT else ":")
    with nginx(tmp_path, setup.location.format(origin)) as url:
        yield url + UNDER
    exporter.kill()


def links(text: str) -> set[str]:
    return set(re.findall(r'(?:href=|src=|from )"([^"]+)"', text))


async def test_every_link_leads_somewhere(behind: str) -> None:
    await eventually(200, lambda: fetched(f"{behind}-/ready")[0])
    seen, todo = set(), [behind]
    while todo:
        url = todo.pop()
        seen.add(url)
        status, _, text = fetched(url)
        assert 200 == status, url
        if url.endswith((".js", "/pools", UNDER)):
            found = {urljoin(url, link) for link in links(text.decode())}
            todo += found - seen - set(todo)
    assert {each.removeprefix(behind) for each in seen} >= {
        "", "pools", "metrics", "api/v1/pools", "-/healthy", "-/ready", "assets/pools.js",
        "assets/card.js", "assets/trend.js", "assets/format.js", "assets/pools.css",
        "assets/icon.svg",
    }  # fmt: skip
    assert all(each.startswith(behind) for each in seen)


@pytest.mark.parametrize("transport", ["tcp"], indirect=True)
@pytest.mark.parametrize("behind", IN_A_BROWSER, indirect=True)
async def test_the_live_page_works(behind: str, workers: Any) -> None:
    worker = workers("orders")
    worker.tell("take", "take")
    async with opened_tab(f"{behind}pools") as tab:
        numbers = tab.page.locator("#pools > .pool .numbers")
        await expect(numbers).to_have_text("2 of 4 in use, 0 idle")
        worker.tell("give")
        await expect(numbers).to_have_text("1 of 4 in use, 1 idle")
        await tab.page.locator("#sort").select_option("name")
        assert f"{behind}pools?sort=name" == tab.page.url
        await tab.page.reload()
        await expect(numbers).to_have_text("1 of 4 in use, 1 idle")
        await tab.picture("behind-nginx")
        await tab.page.get_by_role("link", name="poolscope").click()
        await expect(tab.page.get_by_role("link", name="Pools")).to_be_visible()
        assert behind == tab.page.url
        await tab.page.get_by_role("link", name="Pools").click()
        await expect(numbers).to_have_text("1 of 4 in use, 1 idle")
        assert [] == tab.complaints


class TestPrefixes:
    @pytest.mark.parametrize("prefix", ["/pools", "/a/b.c/d~e", "/metrics"])
    def test_all_paths_begin_with_it(self, folder: Path, prefix: str) -> None:
        exporter = ExporterProcess(folder, "--web.route-prefix", f"{prefix}/")
        origin = exporter.url.removesuffix(prefix)
        for path in ("", "pools", "metrics", "metrics/", "api/v1/pools", "-/healthy"):
            assert 200 == exporter.get(f"/{path}")[0], path
        for path in ("/", prefix, "/?q=1", f"{prefix}?q=1&r"):
            status, url, _ = fetched(f"{origin}{path}")
            _, _, query = path.partition("?")
            assert (200, f"{exporter.url}/" + (f"?{query}" if query else "")) == (status, url)
        for path in ("/-/healthy", "/api/v1/pools", f"{prefix}x/", f"{prefix}//"):
            assert 404 == fetched(f"{origin}{path}")[0], path
        exporter.kill()

    def test_the_metrics_may_be_all_there_is(self, folder: Path) -> None:
        exporter = ExporterProcess(folder, "--web.route-prefix", "/x", "--web.telemetry-path", "/")
        assert b"# TYPE connpool_" in exporter.get("/")[2]
        exporter.kill()
