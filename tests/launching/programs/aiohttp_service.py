"""The service as an application of aiohttp.web, at the port that is its argument."""

from __future__ import annotations

import sys

from aiohttp import web

from service import answer


async def respond(request: web.Request) -> web.Response:
    return web.Response(body=answer())


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/", respond)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
