"""A real browser without a window: Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright, expect

from support.tools import required
from support.waiting import PATIENCE

# The page may fetch new data only every few seconds.
expect.set_options(timeout=PATIENCE * 1000)

PICTURES = Path(__file__).parents[2] / "test-pictures"


class Tab:
    """
    A tab, and what it has logged and requested.

    complaints: errors and warnings in its console, such as failing scripts and violations of the
        security policy.
    hosts: host and port of all servers that it has sent requests to.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._add_message)
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def _add_message(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    async def picture(self, name: str) -> None:
        """Save a screenshot of the whole page, for people to look at."""
        PICTURES.mkdir(exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


@asynccontextmanager
async def opened_tab(url: str, **options: Any) -> AsyncIterator[Tab]:
    """Open `url` in a new browser; `options` are those of a Playwright browser context."""
    path = required("chromium", "chromium")
    async with async_playwright() as playwright:
        # Chromium's sandbox does not work as root, nor in most containers.
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"], timeout=PATIENCE * 1000
        )
        context = await browser.new_context(**options)
        context.set_default_timeout(PATIENCE * 1000)
        tab = Tab(await context.new_page())
        await tab.page.goto(url)
        yield tab
        await browser.close()
