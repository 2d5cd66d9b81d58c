"""
Lets Starlette's mounts of, and routes to, our app serve it with and without a slash at the end.

Starlette redirects `/metrics` to `/metrics/` where an app is mounted, and the other way round where
an app has a route. It does so before the app is asked, and not every scraper follows a redirect.
Only mounts and routes that are made with our app differ from others.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Final

_changed: Final[dict[type, type]] = {}
"""The class in the place of each class of mounts and routes."""


def serve_with_and_without_slash(app_class: type) -> None:
    """
    Do so for apps of this class from now on, in the mounts and routes that are made from now on.

    Where Starlette was not imported yet, nothing is done.
    """
    routing: Any = sys.modules.get("starlette.routing")
    for cls in (getattr(routing, "Mount", None), getattr(routing, "Route", None)):
        if cls is not None and not hasattr(cls.__init__, "_is_poolscope"):
            cls.__init__ = _made_with(app_class, cls.__init__)


def _made_with(app_class: type, original: Any) -> Any:
    @functools.wraps(original)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        # Of a mount, of a mount in old versions, and of a route.
        apps = (getattr(self, name, None) for name in ("_base_app", "app", "endpoint"))
        if any(isinstance(app, app_class) for app in apps):
            self.__class__ = _with_and_without_slash(type(self))

    made._is_poolscope = True  # type: ignore[attr-defined]  # a mark
    return made


def _with_and_without_slash(cls: Any) -> type:
    if cls in _changed:
        return _changed[cls]

    class Both(cls):  # type: ignore[misc]  # its base is known at run time only
        def matches(self, scope: Any) -> Any:
            match, child = super().matches(scope)
            # As Starlette does before it redirects.
            if not child and scope["type"] == "http" and scope["path"] != "/":
                path = scope["path"]
                other = path.rstrip("/") if path.endswith("/") else f"{path}/"
                match, child = super().matches({**scope, "path": other})
            return match, child

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Both, name, getattr(cls, name))
    _changed[cls] = _changed[Both] = Both
    return Both
