"""Errors of the instrumentation end where they are."""

from __future__ import annotations

import logging

import pytest

from poolscope.errors import ErrorLog, harmless


def test_a_log_that_fails_too_is_nobodys_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
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
