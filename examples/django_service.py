"""
A Django service that asks a second database with SQLAlchemy, whose engine is watched.

Run it with `gunicorn django_service:application --threads 4`, request `/orders`, then look at
`/metrics`. With several workers, set POOLSCOPE_DIR and run `poolscope exporter` beside them
instead.
"""

from __future__ import annotations

import os

import sqlalchemy
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import poolscope

url = os.environ.get("DATABASE_URL", "sqlite:///orders.db")
engine = sqlalchemy.create_engine(url, pool_size=5, max_overflow=5, pool_pre_ping=True)
poolscope.watch(engine, name="orders")


def orders(request: HttpRequest) -> HttpResponse:
    with engine.connect() as connection:
        return JsonResponse({"orders": connection.scalar(sqlalchemy.text("SELECT 0"))})


def metrics(request: HttpRequest) -> HttpResponse:
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


urlpatterns = [path("orders", orders), path("metrics", metrics)]

settings.configure(
    MIDDLEWARE=["poolscope.django.Middleware"],
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "change me"),
)
application = get_wsgi_application()
