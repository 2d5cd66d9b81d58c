"""
A Django service that asks a database with SQLAlchemy, whose engine is watched.

Run it with `gunicorn django_service:application --threads 4` or `uvicorn django_service:asgi`,
request `/orders/1`, then look at `/metrics`. At `/holders` it says who holds a connection at this
moment, and for which request. With several workers, set POOLSCOPE_DIR and run `poolscope exporter`
beside them instead.
"""

from __future__ import annotations

import os
from dataclasses import asdict

import sqlalchemy
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path, re_path
from sqlalchemy import text

import poolscope

url = os.environ.get("DATABASE_URL", "sqlite:///orders.db")
engine = sqlalchemy.create_engine(url, pool_size=5, max_overflow=5, pool_pre_ping=True)
poolscope.watch(engine, name="orders")

with engine.begin() as connection:
    table = "orders (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL)"
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS {table}"))


def order(request: HttpRequest, number: int) -> HttpResponse:
    query = text("SELECT amount FROM orders WHERE number = :number")
    with engine.connect() as connection:
        amount = connection.scalar(query, {"number": number})
    return JsonResponse({"number": number, "amount": amount})


def holders(request: HttpRequest) -> HttpResponse:
    return JsonResponse([asdict(hold) for hold in poolscope.holders()], safe=False)


urlpatterns = [
    path("orders/<int:number>", order),
    path("holders", holders),
    re_path("^metrics/?$", poolscope.make_wsgi_app()),
]

settings.configure(
    MIDDLEWARE=["poolscope.django.Middleware"],
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "change me"),
)
application = get_wsgi_application()
asgi = get_asgi_application()
