"""
The top-level packages of well-known libraries.

Whatever is installed is a library anyway. These names decide only where that cannot be told: in a
program that was frozen, in a folder of libraries whose `*.dist-info` were removed, and where the
application is itself installed and nothing says which of the installed packages it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

POOL_LIBRARIES: Final = frozenset({"aiohttp", "asyncpg", "greenlet", "sqlalchemy"})
"""They only pass on requests for connections, so their lines are never call sites."""

_OVER_POOLS: Final = """
    advanced_alchemy aiobotocore aiocache aiodocker aiogram aiohttp_client_cache aiohttp_retry
    aiohttp_socks aiosqlite alembic anthropic asyncmy asyncpgsa azure botocore buildpg databases
    dataset discord elastic_transport elasticsearch encode fastapi_pagination fastapi_sqlalchemy
    fastapi_users flask_migrate flask_sqlalchemy fsspec gcloud gidgethub gino google gql httpx
    httpx_aiohttp huggingface_hub kubernetes_asyncio langchain langchain_community langchain_core
    langchain_openai langgraph litellm marshmallow_sqlalchemy nextcord openai opensearchpy ormar
    pandas pgvector piccolo polars procrastinate psycopg psycopg2 psycopg_pool pymysql pyrogram
    qdrant_client replicate s3fs slack_bolt slack_sdk sqladmin sqlalchemy_continuum sqlalchemy_utils
    sqlmodel telegram tortoise twitchio web3 zeep
"""
_WRAPPERS: Final = """
    aiobreaker aiolimiter aiomisc anyio asgiref async_lru async_timeout asyncer asyncstdlib backoff
    beartype blinker cachetools circuitbreaker ddtrace decorator dependency_injector dishka dogpile
    elasticapm exceptiongroup hystrix injector instana joblib lagom logfire loguru mock newrelic
    opentelemetry prometheus_client pybreaker pydantic pyinstrument pyroscope retry retrying rollbar
    scout_apm sentry_sdk sniffio stamina statsd structlog svcs tenacity typeguard wrapt
"""
_RUNNERS: Final = """
    IPython _pytest aio_pika aiokafka allauth apscheduler ariadne arq asgi_lifespan awslambdaric
    billiard blacksheep bottle celery channels chainlit cherrypy click corsheaders coverage cyclopts
    dagster daphne dash debug_toolbar debugpy django django_q dramatiq engineio eventlet falcon
    fastapi fastapi_cli faststream fire flask flask_admin flask_login flask_restful
    functions_framework gevent gradio granian graphene grpc gunicorn httptools huey hug hypercorn
    ipykernel jupyter_client jupyterlab kombu litestar locust luigi mangum marimo nbclient nicegui
    ninja nose2 notebook panel pluggy prefect ptpython pydevd pyramid pytest pytest_asyncio
    pytest_django quart ray redis rest_framework robyn rq sanic saq socketio starlette strawberry
    streamlit taskiq textual tornado tox trio twisted typer uvicorn uvicorn_worker uvloop voila
    waitress webob websockets werkzeug whitenoise xdist zappa
"""

WELL_KNOWN: Final = frozenset(f"{_OVER_POOLS} {_WRAPPERS} {_RUNNERS}".split())
"""They pass on requests for connections, or run the application."""


class Library(NamedTuple):
    """
    How the objects of a pool's library refer to a connection.

    package: the top-level package of their classes, or of the bases of these.
    parts: attributes that lead to a connection, none of which is a property.
    """

    package: str
    parts: Collection[str]
