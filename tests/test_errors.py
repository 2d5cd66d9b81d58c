"""Errors of the instrumentation are swallowed and counted."""

from __future__ import annotations

import logging

import pytest

from poolscope.errors import ErrorLog, harmless


def test_an_error_is_counted_even_if_logging_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RecursionError

    errors = ErrorLog()
    monkeypatch.setattr("poolscope.errors.internal_errors", errors)
    monkeypatch.setattr(logging.getLogger("poolscope"), "error", fail)

    @harmless
    def hook() -> None:
        raise ZeroDivisionError

    assert (None, None) == (hook(), hook())
    assert 2 == errors.count
