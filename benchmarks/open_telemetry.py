"""OpenTelemetry's instrumentation, as its documentation puts it in; only in the second venv."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib import import_module
from typing import Any


def available() -> bool:
    return importlib.util.find_spec("opentelemetry.sdk") is not None


def meter_provider() -> Any:
    """Return its metrics SDK, whose numbers are kept until somebody reads them."""
    export: Any = import_module("opentelemetry.sdk.metrics.export")
    metrics: Any = import_module("opentelemetry.sdk.metrics")
    return metrics.MeterProvider(metric_readers=[export.InMemoryMetricReader()])


def instrument_engine(engine: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    """
    Instrument one engine.

    It also wraps `Engine.connect` of all engines; so return what puts that on, and takes it off.
    """
    package: Any = import_module("opentelemetry.instrumentation.sqlalchemy")
    package.SQLAlchemyInstrumentor().instrument(engine=engine, meter_provider=meter_provider())
    cls: Any = import_module("sqlalchemy.engine.base").Engine
    wrapped = vars(cls)["connect"]

    def put_on() -> None:
        cls.connect = wrapped

    def restore_method() -> None:
        cls.connect = wrapped.__wrapped__

    restore_method()
    return put_on, restore_method


def instrument_asyncpg() -> tuple[Callable[[], None], Callable[[], None]]:
    """
    Return what instruments asyncpg, and what takes that out again.

    It makes spans of statements, and has no metrics, nor anything of `acquire` and `release`.
    """
    package: Any = import_module("opentelemetry.instrumentation.asyncpg")
    trace: Any = import_module("opentelemetry.sdk.trace")
    instrumentor = package.AsyncPGInstrumentor()
    provider = trace.TracerProvider()

    def put_in() -> None:
        instrumentor.instrument(tracer_provider=provider)

    return put_in, instrumentor.uninstrument


def aiohttp_trace_config() -> Any:
    """Return the TraceConfig that its instrumentation gives to a session."""
    package: Any = import_module("opentelemetry.instrumentation.aiohttp_client")
    return package.create_trace_config(meter_provider=meter_provider())
