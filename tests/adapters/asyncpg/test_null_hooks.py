"""asyncpg: what a class that a pool no longer needs calls, after its hooks are gone."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from poolscope.adapters.asyncpg.classes import NullHooks
from poolscope.adapters.asyncpg.recording import PoolRecording


def test_a_misspelt_hook_is_an_error() -> None:
    hooks: Any = NullHooks()
    with pytest.raises(AttributeError):
        hooks.conected(None, 1, 0.0)


def test_every_null_hook_takes_what_the_hook_takes() -> None:
    names = [name for name in vars(NullHooks) if not name.startswith("_") and name != "clock"]
    assert names
    for name in names:
        expected = inspect.signature(getattr(PoolRecording, name)).parameters
        actual = inspect.signature(getattr(NullHooks, name)).parameters
        assert list(expected) == list(actual)
