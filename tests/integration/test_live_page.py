"""The live page of the exporter, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import expect

from support.browsers import opened_tab
from support.exporters import ExporterProcess
from support.ports import ReservedPort

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}


@pytest.fixture
def exporter(folder: Path) -> Iterator[ExporterProcess]:
    """An exporter on a reserved port."""
    port = ReservedPort()  # so that another exporter can take its place
    exporter = ExporterProcess(folder, address=f"127.0.0.1:{port.number}")
    yield exporter
    exporter.kill()
    port.give_back()


@pytest.fixture
def shop(workers: Any) -> Any:
    """The worker of a full pool with two waiting callers, beside a half full and an idle pool."""
    full, half, idle = workers("orders"), workers("billing"), workers("reports")
    full.tell("take", "take", "take", "take", "wait", "wait")
    half.tell("use 3", "take", "take")
    idle.tell("use 3")
    return full


async def test_the_fullest_pool_is_shown_first(exporter: Any, shop: Any) -> None:
    async with opened_tab(f"{exporter.url}/pools") as tab:
        cards = tab.page.locator("#pools > .pool")
        await expect(cards.locator("h2")).to_have_text(["orders", "billing", "reports"])
        await expect(cards.locator(".numbers")).to_have_text(
            ["4 of 4 in use, 0 idle, 2 waiting", "2 of 4 in use, 0 idle", "0 of 4 in use, 1 idle"]
        )
        await expect(cards.locator("header .state").first).to_have_text("full, 2 waiting")
        await expect(tab.page.locator("#summary")).to_have_text(
            "3 pools in 3 processes \u00b7 1 full \u00b7 2 waiting"
        )
        await expect(tab.page).to_have_title("(1 full) Pools")
        (row,) = await cards.first.locator(".holders tbody tr").all()
        await expect(row).to_have_text(re.compile(r"worker.py:\d+ in take4\d.* s.*MainThread of"))
        await expect(cards.first.locator(".findings")).to_contain_text("nested-acquire")
        widths = await cards.locator(".now .in-use").evaluate_all(
            "bars => bars.map(bar => bar.style && bar.style.width).filter(Boolean)"
        )
        assert ["100%", "50%", "0%"] == widths
        await tab.picture("pools")
        assert ([], {exporter.url.removeprefix("http://")}) == (tab.complaints, tab.hosts)


async def test_the_page_is_updated_and_opened_details_stay_open(exporter: Any, shop: Any) -> None:
    async with opened_tab(f"{exporter.url}/pools") as tab:
        card = tab.page.locator("#pools > .pool", has_text="orders")
        processes = card.locator(".processes")
        await processes.locator("summary").click()
        # The waiting callers get the returned connections, and return them at once.
        shop.tell("give", "give", "give")
        await expect(card.locator(".numbers")).to_have_text("1 of 4 in use, 3 idle")
        await expect(card.locator(".state")).not_to_have_text(re.compile("waiting"))
        await expect(processes.locator("tbody td").first).to_have_text(str(shop.pid))
        shop.kill()
        await expect(card.locator(".state")).to_have_text("gone; its counters are kept")
        await expect(tab.page.locator("#summary")).to_contain_text("2 pools in 2 processes")
        assert [] == tab.complaints


async def test_selected_text_is_not_replaced(exporter: Any, shop: Any) -> None:
    async with opened_tab(f"{exporter.url}/pools") as tab:
        line = tab.page.locator("#pools > .pool", has_text="billing").locator(".holders code")
        await line.evaluate("line => getSelection().selectAllChildren(line)")
        before = await line.element_handle()
        async with tab.page.expect_response("**/api/v1/pools"):
            pass
        async with tab.page.expect_response("**/api/v1/pools"):
            pass
        assert before is not None
        assert await before.evaluate("line => line.isConnected")
        selected = await tab.page.evaluate("String(getSelection())")
        assert re.fullmatch(r"worker\.py:\d+ in take", selected)


async def test_filter_and_order_are_kept_in_the_url(exporter: Any, shop: Any) -> None:
    async with opened_tab(f"{exporter.url}/pools") as tab:
        names = tab.page.locator("#pools > .pool h2")
        await tab.page.locator("#sort").select_option("name")
        await expect(names).to_have_text(["billing", "orders", "reports"])
        for word, expected in {
            "ORD": ["orders"],
            f"{shop.pid}": ["orders"],
            "in take": ["billing", "orders"],
            "nested-acq": ["billing", "orders"],
        }.items():
            await tab.page.locator("#filter").fill(word)
            await expect(names).to_have_text(expected)
        await tab.page.locator("#filter").fill("<nobody>")
        await expect(tab.page.locator("#nothing")).to_have_text(
            "Nothing matches \u201c<nobody>\u201d."
        )
        await tab.page.locator("#filter").fill("ord")
        await tab.page.reload()
        await expect(names).to_have_text(["orders"])
        assert tab.page.url.endswith("/pools?q=ord&sort=name")
        assert [] == tab.complaints


async def test_holders_are_grouped_by_line_or_by_operation(exporter: Any, workers: Any) -> None:
    worker = workers("orders")
    worker.tell("take nightly report", "take GET /orders/{id}", "take nightly report", "take")
    async with opened_tab(f"{exporter.url}/pools") as tab:
        holders = tab.page.locator("#pools > .pool .holders")
        summary, head = holders.locator("summary"), holders.locator("th").first
        names = holders.locator("tbody code")
        await expect(summary).to_have_text("4 connections held by 1 line")
        await tab.page.locator("#group").select_option("operation")
        await expect(summary).to_have_text("4 connections held by 3 operations")
        await expect(head).to_have_text("Operation")
        await expect(names).to_have_text(["nightly report", "GET /orders/{id}", "no operation"])
        await tab.page.locator("#filter").fill("NIGHTLY")
        await expect(summary).to_have_text("2 connections held by 1 operation")
        await tab.picture("operations")
        await tab.page.reload()
        await expect(names).to_have_text(["nightly report"])
        assert tab.page.url.endswith("/pools?q=NIGHTLY&group=operation")
        await tab.page.locator("#group").select_option("line")
        await expect(head).to_have_text("Line")
        # As Grafana's dashboard of a pool leads to it.
        route = quote("GET /orders/{id}", safe="")
        await tab.page.goto(f"{exporter.url}/pools?group=operation&q={route}")
        await expect(names).to_have_text(["GET /orders/{id}"])
        assert [] == tab.complaints


async def test_an_overdue_holder_is_shown_with_where_it_was_seen(
    exporter: Any, workers: Any
) -> None:
    worker = workers("orders", leak_after=1e-6)
    worker.tell("take", "use 1")
    async with opened_tab(f"{exporter.url}/pools") as tab:
        holders = tab.page.locator("#pools > .pool .holders")
        await expect(holders.locator(".seen")).to_have_text(
            re.compile(r"^last seen at worker\.py:\d+ in \w+$")
        )
        await expect(tab.page.locator("#summary")).to_have_text(
            "1 pool in 1 process \u00b7 none full \u00b7 no callers waiting \u00b7 1 overdue"
        )
        await tab.picture("last-seen")
        await tab.page.locator("#filter").fill("worker.py")
        await expect(holders.locator(".seen")).to_have_count(1)
        assert [] == tab.complaints


HTML_NAME = "<img src=x onerror=\"document.title='broken'\">&amp;</script><script>alert(1)</script>"


async def test_html_in_a_name_is_shown_as_text(exporter: Any, workers: Any) -> None:
    workers(HTML_NAME).tell("take")
    async with opened_tab(f"{exporter.url}/pools") as tab:
        await expect(tab.page.locator("#pools > .pool h2")).to_have_text(HTML_NAME)
        await expect(tab.page.locator("img, main script")).to_have_count(0)
        await expect(tab.page).to_have_title("Pools")
        assert [] == tab.complaints


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_on_a_phone_nothing_is_wider_than_the_screen(
    exporter: Any, workers: Any, theme: str
) -> None:
    workers("a-name-that-is-as-long-as-" + "names-can-be-" * 8).tell("take", "lose")
    options = {**PHONE, "color_scheme": theme}
    async with opened_tab(f"{exporter.url}/pools", **options) as tab:
        await expect(tab.page.locator("#pools > .pool")).to_have_count(1)
        width = await tab.page.evaluate("document.documentElement.scrollWidth")
        await tab.picture(f"phone-{theme}")
        assert 390 == width
        background = await tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert {"light": "rgb(244, 245, 247)", "dark": "rgb(16, 19, 24)"}[theme] == background
        await tab.page.locator("#theme").click()
        other = await tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert other != background
        await tab.page.reload()
        assert other == await tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert [] == tab.complaints


async def test_the_page_says_when_the_exporter_does_not_answer(
    exporter: Any, shop: Any, folder: Path
) -> None:
    async with opened_tab(f"{exporter.url}/pools") as tab:
        await expect(tab.page.locator("#fresh")).to_have_text("live")
        exporter.kill()
        trouble = tab.page.locator("#trouble")
        await expect(trouble).to_be_visible()
        await expect(trouble).to_have_text(
            re.compile(r"^The exporter does not answer; these numbers are .* old\.$")
        )
        await expect(tab.page.locator("#pools > .pool")).to_have_count(3)
        again = ExporterProcess(folder, address=exporter.url.removeprefix("http://"))
        await expect(trouble).to_be_hidden()
        again.kill()


async def test_with_an_empty_folder_the_page_says_what_to_do(exporter: Any) -> None:
    async with opened_tab(f"{exporter.url}/pools") as tab:
        await expect(tab.page.locator("#nothing")).to_have_text(re.compile("set POOLSCOPE_DIR"))
        await tab.page.goto(exporter.url)
        await tab.page.get_by_role("link", name="Pools").click()
        assert f"{exporter.url}/pools" == tab.page.url
        assert [] == tab.complaints


async def test_without_javascript_the_page_links_to_the_json(exporter: Any) -> None:
    async with opened_tab(f"{exporter.url}/pools", java_script_enabled=False) as tab:
        await expect(tab.page.locator("noscript a")).to_have_attribute("href", "api/v1/pools")


def test_the_security_policy_allows_only_this_server(exporter: Any) -> None:
    for path, kind in {
        "/pools": "text/html",
        "/assets/pools.js": "text/javascript",
        "/assets/pools.css": "text/css",
        "/assets/icon.svg": "image/svg+xml",
    }.items():
        status, headers, text = exporter.get(path)
        assert (200, kind) == (status, headers["Content-Type"].partition(";")[0])
        assert b"://" not in text.replace(b"http://www.w3.org/2000/svg", b"")
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
    assert 404 == exporter.get("/assets/../pages.py")[0]
