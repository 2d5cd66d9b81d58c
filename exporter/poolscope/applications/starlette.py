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
    known = vars(app).get("_poolscope_metrics", "")
    if metrics is not None and not known:
        _add_route(app, metrics)
    if "_poolscope_metrics" in vars(app):
        app._poolscope_metrics = known or metrics
        return app
    build, app_ref = app.build_middleware_stack, weakref.ref(app)

    def match(scope: Any) -> str | None:
        known = app_ref()
        return template_in(known.router.routes, scope) if known is not None else None

    def build_middleware_stack() -> ASGIRequests:
        return ASGIRequests(build(), template_of_route, match)

    if app.middleware_stack is not None:
        app.middleware_stack = ASGIRequests(app.middleware_stack, template_of_route, match)
    app.build_middleware_stack = build_middleware_stack
    app._poolscope_metrics = metrics
    return app


def template_of_route(scope: Any) -> str | None:
    """
    Return the template of the route that the router has left in the scope, in few steps.

    None if there is none yet, or it does not allow the method. Checked with Starlette 1.10 and
    FastAPI 0.165, whose included routers know the whole path of their routes.
    """
    route = scope.get("route")
    if route is None or scope.get("method") not in (getattr(route, "methods", None) or ()):
        return None
    included = scope.get("fastapi", {}).get("effective_route_context")
    path = getattr(included or route, "path", None)
    return path if isinstance(path, str) else None


def _add_route(app: Any, path: str) -> None:
    from starlette.routing import Route

    routes = app.router.routes
    taken = {str(getattr(route, "path", "")).rstrip("/") for route in routes}
    if path.rstrip("/") not in taken:
        # The first one, because another may match any path.
        routes.insert(0, Route(path, make_asgi_app(), include_in_schema=False))
