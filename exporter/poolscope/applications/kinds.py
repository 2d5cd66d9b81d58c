"""
The classes of applications that `poolscope run` instruments. Importing this imports nothing: see
`adapters/kinds.py`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # that of `typing`, which takes long to import
if TYPE_CHECKING:
    from typing import Final

MADE: Final = {
    "starlette.applications": ("Starlette",),
    # It does not call the `__init__` of Starlette.
    "fastapi.applications": ("FastAPI",),
    "flask.app": ("Flask",),
    "aiohttp.web_app": ("Application",),
    "celery.app.base": ("Celery",),
}
"""By the modules that define them; an application is complete enough after their `__init__`."""

HANDLERS: Final = {"django.core.handlers.base": ("BaseHandler",)}
"""Django's, whose middleware is complete after `load_middleware`."""
