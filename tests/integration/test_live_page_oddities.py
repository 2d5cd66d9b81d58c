"""The live page with odd parameters, odd names, and answers that are none."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import pytest
from playwright.async_api import Route, expect

from support.browsers import opened_tab
from support.exporters import exporter

__all__ = ["exporter"]

ODD: Final = (
    "toString", "__proto__", "constructor", "hasOwnProperty", "valueOf", "length", "0", "-1", "NaN",
    "1e999", "", " ", "FULLEST", "fullest ", "name,name", "null", "undefined", "<script>", "\0",
    "\u202e", "\U0001f600", "x" * 10_000,
)  # fmt: skip
BROKEN: Final = ("%", "%E0%A4%A", "%zz", "%ff", "%00", "+", "&&", "=", "a%2", "sort=toString")

QUERIES: Final = (
    *(f"sort={quote(each)}" for each in ODD),
    *(f"sort={each}" for each in BROKEN),
    *("sort=toString&sort=name", "sort=&sort=", "sort[]=name", "__proto__[sort]=1"),
    *(f"{quote(each[:4000])}={quote(each[:4000])}" for each in ODD[::3]),
)


@pytest.fixture
def shop(workers: Any) -> None:
    workers("orders").tell("take", "take")
    workers("a").tell("use 1")


async def test_whatever_the_order_is_the_pools_are_shown(exporter: Any, shop: None) -> None:
    async with opened_tab(exporter.url) as tab:
        for query in QUERIES:
            await tab.page.goto(f"{exporter.url}/pools?{query}")
            names = tab.page.locator("#pools > .pool h2")
            await expect(names).to_have_text(["orders", "a"])
            await expect(tab.page.locator("#sort")).to_have_value("fullest")
            await expect(tab.page.locator("#stuck")).to_be_hidden()
        assert [] == tab.complaints


async def test_whatever_the_filter_is_the_page_says_what_matches(exporter: Any, shop: None) -> None:
    async with opened_tab(exporter.url) as tab:
        for text in (*ODD[::2], ODD[-1], "%", "%E0%A4%A", "(", "[", "\\", "*"):
            await tab.page.goto(f"{exporter.url}/pools?q={quote(text)}&sort=constructor")
            await expect(tab.page.locator("#summary")).to_have_text(re.compile("^2 pools in 2"))
            shown = await tab.page.locator("#pools > .pool").count()
            hidden = await tab.page.locator("#nothing").is_hidden()
            assert (shown > 0) == hidden
        width = await tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert 0 >= width
        # A long filter can be kept in the address, and loaded again.
        await tab.page.locator("#filter").fill("\U0001f600" * 5000)
        await tab.page.reload()
        await expect(tab.page.locator("#nothing")).to_be_visible()
        assert [] == tab.complaints


NAMES: Final = (
    "__proto__", "constructor", "toString", "hasOwnProperty", "<script>alert(1)</script>",
    "&lt;b&gt;", "\u05d0\u05d1\u05d2 \u202eabc", "pool 10", "pool 2", "Pool 2", "x" * 120,
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467", "e\u0301t\u00e9", "\u00e9te\u0301",
    "0", "null", "a\nb", "\ufffd", " ", "",
)  # fmt: skip


async def answering(tab: Any, document: Any) -> None:
    """Have the exporter answer with this document."""

    async def answer(route: Route) -> None:
        await route.fulfill(json=document)

    await tab.page.route("**/api/v1/pools", answer)


async def test_any_name_is_shown_as_text_and_has_its_place(exporter: Any, workers: Any) -> None:
    workers("orders").tell("take")
    document = json.loads(exporter.get("/api/v1/pools")[2])
    (pool,) = document["pools"]
    named = [
        {
            **pool,
            "pool": name,
            "holders": [{**pool["holders"][0], "site": name, "owner": name}],
            "findings": [{"rule": name, "severity": name, "message": name, "sites": [name]}],
            "servers": [{"server": name, "connections": 1}],
        }
        for name in NAMES
    ]
    shown: list[list[str]] = []
    async with opened_tab(exporter.url) as tab:
        for pools in (named, named[::-1]):
            await answering(tab, {**document, "pools": pools})
            await tab.page.goto(f"{exporter.url}/pools?sort=name")
            heads = tab.page.locator("#pools > .pool h2")
            await expect(heads).to_have_count(len(NAMES))
            shown.append(await heads.evaluate_all("all => all.map(each => each.textContent)"))
        await tab.picture("odd-names")
        assert sorted(NAMES) == sorted(shown[0])
        assert shown[0] == shown[1]
        numbered = [name for name in shown[0] if name.lower().startswith("pool ")]
        assert [2, 2, 10] == [int(name.split()[1]) for name in numbered]
        assert 0 == await tab.page.locator("main script, main b b").count()
        width = await tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert 0 >= width
        for name in NAMES[:6]:
            await tab.page.locator("#filter").fill(name)
            await expect(heads).to_have_text([name])
        assert [] == tab.complaints


JSON: Final = "application/json"
FAILURES: Final[dict[str, tuple[dict[str, Any] | None, str]]] = {
    "an error": ({"status": 500, "body": "500: see the log"}, "The exporter answers 500 Internal"),
    "a proxy": ({"status": 502, "body": "<h1>Bad"}, "The exporter answers 502 Bad Gateway"),
    "a password": ({"status": 401, "body": ""}, "The exporter answers 401 Unauthorized; load this"),
    "a page": ({"status": 200, "body": "<html>"}, "What answers is not the exporter: it sends no"),
    "half": ({"status": 200, "body": '{"pools": [', "content_type": JSON}, "What answers is not"),
    "another": ({"status": 200, "body": "{}", "content_type": JSON}, "What answers is not"),
    "null": ({"status": 200, "body": "null", "content_type": JSON}, "What answers is not"),
    "no pool": ({"status": 200, "body": '{"pools": [{}]}'}, "This page cannot show the answer"),
    "nobody": (None, "The exporter does not answer"),
}


def failing(answer: dict[str, Any] | None) -> Callable[[Route], Awaitable[None]]:
    async def fail(route: Route) -> None:
        await (route.abort() if answer is None else route.fulfill(**answer))

    return fail


async def test_what_failed_is_shown_and_passes(exporter: Any, shop: None) -> None:
    # Of those that the page treats alike, one is tried.
    alike = {"a proxy", "half", "another"}
    cases = [*((kind, True) for kind in FAILURES if kind not in alike), ("an error", False)]
    async with opened_tab(exporter.url) as tab:
        numbers = tab.page.locator("#pools > .pool .numbers").first
        trouble = tab.page.locator("#trouble")
        for kind, first in cases:
            answer, message = FAILURES[kind]

            fail = failing(answer)
            if first:
                await tab.page.route("**/api/v1/pools", fail)
            await tab.page.goto(f"{exporter.url}/pools")
            if not first:
                await expect(numbers).to_have_text("2 of 4 in use, 0 idle")
                await tab.page.route("**/api/v1/pools", fail)
            await expect(trouble).to_have_text(re.compile(f"^{message}.*\\.$"))
            await expect(trouble).to_be_visible()
            await tab.page.unroute("**/api/v1/pools")
            await expect(trouble).to_be_hidden()
            await expect(numbers).to_have_text("2 of 4 in use, 0 idle")
            await expect(tab.page.locator("#fresh")).to_have_text("live")


async def test_a_script_that_cannot_be_loaded_is_noticed(exporter: Any) -> None:
    async with opened_tab(exporter.url) as tab:
        await tab.page.route("**/assets/card.js", lambda route: route.fulfill(status=404))
        await tab.page.goto(f"{exporter.url}/pools")
        await expect(tab.page.locator("#stuck")).to_be_visible()


async def test_it_works_where_the_browser_keeps_nothing(exporter: Any, shop: None) -> None:
    async with opened_tab(exporter.url) as tab:
        await tab.page.add_init_script(
            "for (const [of, name] of [[window, 'localStorage'], [history, 'replaceState']])"
            "  Object.defineProperty(of, name, { get() { throw new DOMException('no'); } });"
        )
        await tab.page.goto(f"{exporter.url}/pools")
        await tab.page.locator("#theme").click()
        await tab.page.locator("#sort").select_option("name")
        await expect(tab.page.locator("#pools > .pool h2")).to_have_text(["a", "orders"])
        assert [] == tab.complaints
