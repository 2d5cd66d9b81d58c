"""
Draw a dashboard with Grafana's own components, and say which panels fail or show nothing.

    draw.py DASHBOARD.json PROMETHEUS OUT.png [--var NAME=VALUE] ...

README.md says more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import playwright.async_api
from aiohttp import web
from playwright.async_api import ViewportSize

sys.path.insert(0, str(Path(__file__).parents[1]))

from drawing import install
from support.browsers import Tab, opened_tab

PATIENCE = 100.0
"""Seconds for all queries, and for the picture to be still."""

# Nothing comes from elsewhere; what is refused is in the console, and so in the report. A library
# of Grafana's tries whether it may evaluate code, and the console would tell of that.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-eval';"
    " style-src 'self' 'unsafe-inline'"
)

PAGE = """<!doctype html>
<html><head>
<meta charset="utf-8"><link rel="icon" href="data:,"><link rel="stylesheet" href="app.css">
</head><body style="margin: 0"><div id="root"></div><script type="module" src="app.js"></script>
</body></html>
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw a dashboard, and check that all is there.")
    parser.add_argument("dashboard", type=Path, help="the file")
    parser.add_argument("prometheus", help="its address")
    parser.add_argument("out", type=Path, help="the picture, a PNG")
    parser.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the value of a variable, All for all; without, it is All or the first one",
    )
    parser.add_argument("--minutes", type=float, default=5, help="how much is shown, until now")
    parser.add_argument("--interval", type=float, default=5, help="seconds between scrapes")
    parser.add_argument("--width", type=int, default=1600, help="in pixels")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PROBLEM",
        help="a line of the report that is no failure, such as \"panel 'DNS errors': no data\"",
    )
    return parser.parse_args()


@asynccontextmanager
async def served(options: argparse.Namespace) -> AsyncIterator[str]:
    """Serve the page, what it draws, and the API of the Prometheus; yield its address."""
    packages = install.packages()
    chosen: dict[str, list[str]] = {}
    for pair in options.var:
        name, _, value = pair.partition("=")
        chosen.setdefault(name, []).append(value)
    given = {
        "dashboard": json.loads(options.dashboard.read_text()),
        "chosen": chosen,
        "now": int(time.time()) * 1000,
        "minutes": options.minutes,
        "scrapeInterval": round(options.interval * 1000),
        "width": options.width,
    }

    async def index(request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": POLICY}
        return web.Response(text=PAGE, content_type="text/html", headers=headers)

    async def input_json(request: web.Request) -> web.Response:
        return web.json_response(given)

    async def forward(request: web.Request) -> web.Response:
        """Pass a query on. Its failure is the panel's, and not one of the page: always 200."""
        async with client.get(options.prometheus.rstrip("/") + request.path_qs) as answer:
            return web.Response(body=await answer.read(), content_type="application/json")

    application = web.Application()
    application.router.add_get("/", index)
    application.router.add_get("/input.json", input_json)
    application.router.add_get("/api/{path:.*}", forward)
    # Where Grafana's components look for icons and fonts.
    modules = packages / "node_modules"
    icons = modules / "@grafana/ui/dist/public/img/icons"
    application.router.add_static("/public/build/img/icons/", icons)
    application.router.add_static("/public/fonts/inter/", modules / "inter-ui/web")
    application.router.add_static("/", install.page(packages))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{options.prometheus}/-/ready") as answer:
                answer.raise_for_status()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def still_picture(tab: Tab) -> bytes:
    """Return what it looks like once that changes no more: legends are measured, then drawn."""
    async with asyncio.timeout(PATIENCE):
        before = b""
        while (now := await tab.page.screenshot(full_page=True)) != before:
            before = now
    return now


async def draw(options: argparse.Namespace) -> Any:
    """Write the picture; return the report of the page, with what its console says."""
    size: ViewportSize = {"width": options.width, "height": 1000}
    async with served(options) as url, opened_tab(url, viewport=size) as tab:
        await tab.page.wait_for_selector("body.done", timeout=PATIENCE * 1000)
        # Tables draw the rows that are in view.
        size["height"] = await tab.page.evaluate("document.body.scrollHeight")
        await tab.page.set_viewport_size(size)
        picture = await still_picture(tab)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(picture)
        report = await tab.page.evaluate("window.drawing.look()")
        report["problems"] += [f"the page: {said}" for said in tab.complaints]
    return report


PROBLEMS = (
    *(OSError, ValueError, aiohttp.ClientError, subprocess.CalledProcessError),
    *(install.MissingToolError, playwright.async_api.Error),
)


def main() -> int:
    """Return 0 if all is there, 1 if panels fail or show nothing, and 2 if nothing was drawn."""
    options = arguments()
    try:
        if shutil.which("chromium") is None:
            raise install.MissingToolError("chromium is missing")
        report = asyncio.run(draw(options))
    except PROBLEMS as error:
        sys.stderr.write(f"{options.dashboard} is not drawn: {error or type(error).__name__}\n")
        return 2
    bad = list(report["problems"])
    for panel in report["panels"]:
        series = sum(query["series"] for query in panel["queries"])
        problem = panel["problem"]
        sys.stdout.write(
            f"{panel['type']:15} {panel['title']:40} {series:3} series  {problem or 'ok'}\n"
        )
        said = f"panel {panel['title']!r}: {problem}"
        if problem and said not in options.allow:
            bad += [said, *(f"    {query['refId']}: {query['expr']}" for query in panel["queries"])]
    sys.stdout.flush()
    for line in bad:
        sys.stderr.write(f"{line}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
