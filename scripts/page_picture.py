"""
Write docs/pools.png: a screenshot of the live page at a moment when a pool is full.

    page_picture.py [URL]    default: start an exporter and a demo, and wait for two minutes
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parent.parent / "docs" / "pools.png"
PORT = 10564
SIZE = {"width": 1060, "height": 640}
WARM_UP_SECONDS = 130.0
"""Seconds to wait, so that the page has a history to show."""


@contextmanager
def demo() -> Iterator[str]:
    """Run the demo and an exporter; yield the URL of the live page."""
    command = [sys.executable, "-m", "poolscope"]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        environment = {**os.environ, "POOLSCOPE_DIR": f"{folder}/pools"}
        for arguments in (
            ("exporter", "--web.listen-address", f"127.0.0.1:{PORT}"),
            ("demo", "--port", "0"),
        ):
            process = subprocess.Popen(  # noqa: S603 - runs this package
                [*command, *arguments], env=environment, stdout=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        time.sleep(WARM_UP_SECONDS)
        yield f"http://127.0.0.1:{PORT}/pools"


def picture(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)  # type: ignore[arg-type] # a plain dict
        page.goto(url)
        # The page's security policy forbids eval, which wait_for_function needs.
        while page.locator("#pools > .pool").first.locator(".numbers .waiting").count() == 0:
            page.wait_for_timeout(100)
        page.screenshot(path=PICTURE)
        browser.close()


def main() -> None:
    with ExitStack() as stack:
        picture(sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(demo()))


if __name__ == "__main__":
    main()
