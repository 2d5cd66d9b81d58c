"""Applications of Starlette and FastAPI."""

from __future__ import annotations

import weakref
from typing import Any

from poolscope.applications.asgi import ASGIRequests, template_in
from poolscope.metrics.http_server import make_asgi_app


def instrument_starlette(app: Any, metrics: str | None) -> Any:
    """
    Have each request be an operation, around all middleware; add a route to the metrics.

    Checked with Starlette 1.10: `build_middleware_stack()` is called before the first
    request, and `middleware_stack` is None until then.
    """
    if "_poolscope_metrics" in vars(app):
        return app
    if metrics is not None:
        _add_route(app, metrics)
    build, app_ref = app.build_middleware_stack, weakref.ref(app)

    def find_template(scope: Any) -> str | None:
        known = app_ref()
        return template_in(known.router.routes, scope) if known is not None else None

    def build_middleware_stack() -> ASGIRequests:
        return ASGIRequests(build(), find_template, by_scope=False)

    if app.middleware_stack is not None:
        app.middleware_stack = ASGIRequests(app.middleware_stack, find_template, by_scope=False)
    app.build_middleware_stack = build_middleware_stack
    app._poolscope_metrics = metrics
    return app


def _add_route(app: Any, path: str) -> None:
    from starlette.routing import Route

    routes = app.router.routes
    taken = {str(getattr(route, "path", "")).rstrip("/") for route in routes}
    if path.rstrip("/") not in taken:
        # The first one, because another may match any path.
        routes.insert(0, Route(path, make_asgi_app(), include_in_schema=False))
