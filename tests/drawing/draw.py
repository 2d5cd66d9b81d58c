"""
Draw a dashboard with Grafana's own components, and report the panels that fail or show nothing.

    draw.py DASHBOARD.json PROMETHEUS OUT.png [--var NAME=VALUE] ...

README.md has the details.
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
"""Seconds for all queries, and again for the picture to become stable."""

# The page may load nothing from other servers: the console, and so the report, has each violation.
# 'unsafe-eval' is allowed because a library of Grafana tries to evaluate code, which would be one.
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
    parser = argparse.ArgumentParser(
        description="Draw a dashboard, and check that every panel shows data."
    )
    parser.add_argument("dashboard", type=Path, help="the JSON file of the dashboard")
    parser.add_argument("prometheus", help="the URL of the Prometheus")
    parser.add_argument("out", type=Path, help="the PNG file to write")
    parser.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable, to All for all values (default: All, or else the first value)",
    )
    parser.add_argument(
        "--minutes", type=float, default=5, help="the time range until now, in minutes"
    )
    parser.add_argument(
        "--until", type=float, help="the end of the time range, in seconds since 1970"
    )
    parser.add_argument(
        "--closed-rows",
        action="store_true",
        help="leave rows closed that are closed at first; their panels are not checked",
    )
    parser.add_argument("--interval", type=float, default=5, help="the scrape interval, in seconds")
    parser.add_argument(
        "--width", type=int, default=1600, help="the width of the picture, in pixels"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PROBLEM",
        help="ignore this problem, such as \"panel 'DNS errors': no data\"",
    )
    return parser.parse_args()


@asynccontextmanager
async def served(options: argparse.Namespace) -> AsyncIterator[str]:
    """Serve the page, its input, and the API of the Prometheus; yield the URL."""
    packages = install.packages()
    chosen: dict[str, list[str]] = {}
    for pair in options.var:
        name, _, value = pair.partition("=")
        chosen.setdefault(name, []).append(value)
    page_input = {
        "dashboard": json.loads(options.dashboard.read_text()),
        "chosen": chosen,
        "now": int(options.until or time.time()) * 1000,
        "minutes": options.minutes,
        "scrapeInterval": round(options.interval * 1000),
        "width": options.width,
        "openRows": not options.closed_rows,
    }

    async def index(request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": POLICY}
        return web.Response(text=PAGE, content_type="text/html", headers=headers)

    async def input_json(request: web.Request) -> web.Response:
        return web.json_response(page_input)

    async def forward(request: web.Request) -> web.Response:
        """Forward a query. The status is always 200: the panel reports an error in the response."""
        async with client.get(options.prometheus.rstrip("/") + request.path_qs) as response:
            return web.Response(body=await response.read(), content_type="application/json")

    application = web.Application()
    application.router.add_get("/", index)
    application.router.add_get("/input.json", input_json)
    application.router.add_get("/api/{path:.*}", forward)
    # Grafana's components load icons and fonts from these paths.
    modules = packages / "node_modules"
    icons = modules / "@grafana/ui/dist/public/img/icons"
    application.router.add_static("/public/build/img/icons/", icons)
    application.router.add_static("/public/fonts/inter/", modules / "inter-ui/web")
    application.router.add_static("/", install.page(packages))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{options.prometheus}/-/ready") as response:
                response.raise_for_status()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def stable_picture(tab: Tab) -> bytes:
    """Return a screenshot that no longer changes: legends are measured first, and then drawn."""
    async with asyncio.timeout(PATIENCE):
        previous = b""
        while (picture := await tab.page.screenshot(full_page=True)) != previous:
            previous = picture
    return picture


async def draw(options: argparse.Namespace) -> Any:
    """Write the picture; return the report of the page, with the messages of its console."""
    size: ViewportSize = {"width": options.width, "height": 1000}
    async with served(options) as url, opened_tab(url, viewport=size) as tab:
        await tab.page.wait_for_selector("body.done", timeout=PATIENCE * 1000)
        # Tables draw only the rows that are in view.
        size["height"] = await tab.page.evaluate("document.body.scrollHeight")
        await tab.page.set_viewport_size(size)
        picture = await stable_picture(tab)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(picture)
        report = await tab.page.evaluate("window.drawing.finish()")
        report["problems"] += [f"the page: {complaint}" for complaint in tab.complaints]
    return report


ERRORS = (
    *(OSError, ValueError, aiohttp.ClientError, subprocess.CalledProcessError),
    *(install.MissingToolError, playwright.async_api.Error),
)


def main() -> int:
    """Return 0 if all panels show data, 1 if some do not, and 2 if nothing was drawn."""
    options = arguments()
    try:
        if shutil.which("chromium") is None:
            raise install.MissingToolError("chromium is missing")
        report = asyncio.run(draw(options))
    except ERRORS as error:
        sys.stderr.write(f"{options.dashboard} is not drawn: {error or type(error).__name__}\n")
        return 2
    problems = list(report["problems"])
    for panel in report["panels"]:
        series = sum(query["series"] for query in panel["queries"])
        problem = panel["problem"]
        sys.stdout.write(
            f"{panel['type']:15} {panel['title']:40} {series:3} series  {problem or 'ok'}\n"
        )
        line = f"panel {panel['title']!r}: {problem}"
        if problem and line not in options.allow:
            problems += [
                line,
                *(f"    {query['refId']}: {query['expr']}" for query in panel["queries"]),
            ]
    sys.stdout.flush()
    for line in problems:
        sys.stderr.write(f"{line}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
