"""The service as applications of FastAPI, Starlette, and Django by ASGI."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import answer


def respond(request: Request) -> Response:
    return PlainTextResponse(answer())


fast = FastAPI()
fast.add_api_route("/", respond)
starlette = Starlette(routes=[Route("/", respond)])


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(answer())


urlpatterns = [path("", view)]

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="tests")  # noqa: S106
django.setup()
by_asgi = get_asgi_application()
by_wsgi = get_wsgi_application()
