"""
Write docs/pools.png and docs/pools-phone.png: the live page when a pool is full and a connection
has leaked, at the width of a desk's screen and of a phone's.

    page_picture.py [URL]    default: start a demo, and wait for two minutes

It fails if the page is wider than the screen.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

DOCS: Final = Path(__file__).parent.parent / "docs"
PORT: Final = 10564
WARM_UP_SECONDS: Final = 130.0
"""Seconds to wait, so that the page has a history to show."""

# Of a browser's tab, by picture.
SCREENS: Final[dict[str, dict[str, Any]]] = {
    "pools.png": {"viewport": {"width": 1280, "height": 800}, "device_scale_factor": 1.5},
    "pools-phone.png": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
    },
}

TOO_WIDE: Final = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@contextmanager
def demo() -> Iterator[str]:
    """Run the demo; yield the URL of the live page."""
    command = [sys.executable, "-m", "poolscope", "demo", "--port", str(PORT), "--seconds", "900"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - this package
    try:
        time.sleep(WARM_UP_SECONDS)
        yield f"http://127.0.0.1:{PORT}/pools"
    finally:
        process.terminate()
        process.wait()


def picture(browser: Browser, url: str, name: str) -> None:
    """Wait until callers wait and a connection has leaked; then take the picture."""
    page = browser.new_page(**SCREENS[name])
    page.goto(url)
    while not is_good(page):
        page.wait_for_timeout(100)
    if page.evaluate(TOO_WIDE):
        sys.exit(f"{name}: the page is wider than the screen")
    page.screenshot(path=DOCS / name)
    page.close()


def is_good(page: Page) -> bool:
    # The page's security policy forbids eval, which wait_for_function needs.
    first = page.locator("#pools > .pool").first
    leaked = page.locator("#summary", has_text="abandoned")
    return first.locator(".numbers .waiting").count() > 0 and leaked.count() > 0


def main() -> None:
    with ExitStack() as stack:
        url = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(demo())
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for name in SCREENS:
            picture(browser, url, name)
        browser.close()


if __name__ == "__main__":
    main()
