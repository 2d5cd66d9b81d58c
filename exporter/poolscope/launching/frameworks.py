"""Instruments the applications of frameworks when they are made, without a route for metrics."""

from __future__ import annotations

from types import FrameType, ModuleType
from typing import Any

from poolscope.applications.instrument import instrument
from poolscope.applications.kinds import HANDLERS, MADE
from poolscope.launching.methods import follow


def imported(module: ModuleType) -> None:
    """A module of a framework was imported: follow the objects of its classes."""
    for name in MADE.get(module.__name__, ()):
        follow(getattr(module, name, None), "__init__", _made)
    for name in HANDLERS.get(module.__name__, ()):
        follow(getattr(module, name, None), "load_middleware", _loaded)


def _made(app: Any, maker: FrameType) -> None:
    instrument(app, metrics=None)


def _loaded(handler: Any, caller: FrameType) -> None:
    from poolscope.applications.django import instrument_handler

    instrument_handler(handler)
