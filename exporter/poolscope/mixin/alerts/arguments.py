"""The flags of the thresholds: one for each field."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, Final

from poolscope.mixin.thresholds import Burn, ThresholdError, Thresholds

DEST: Final = "threshold_"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each threshold, with its default and its comment."""
    group = parser.add_argument_group(
        "thresholds", "a pair is WARNING CRITICAL; see each for what it is"
    )
    for field in dataclasses.fields(Thresholds):
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            dest=DEST + field.name,
            default=None,
            help=f"{field.metadata['help']} (default: {_shown(field.default)})",
            **_shape(field.default),
        )


def thresholds_of(namespace: argparse.Namespace) -> Thresholds:
    """Return the thresholds that flags have set; raises ThresholdError."""
    given: dict[str, Any] = {}
    for field in dataclasses.fields(Thresholds):
        value = getattr(namespace, DEST + field.name)
        if value is None:
            continue
        if isinstance(field.default, Burn):
            value = Burn(_number(field.name, value[0]), *value[1:])
        elif isinstance(field.default, tuple):
            value = tuple(value)
        given[field.name] = value
    return Thresholds(**given)


def _shape(default: object) -> dict[str, Any]:
    if isinstance(default, Burn):
        return {"nargs": 3, "metavar": ("FACTOR", "LONG", "SHORT")}
    if isinstance(default, tuple):
        return {"nargs": 2, "type": float, "metavar": ("WARNING", "CRITICAL")}
    if isinstance(default, str):
        return {"metavar": "DURATION"}
    return {"type": float, "metavar": "N"}


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ThresholdError(f"{name}: {text!r} is no number") from None


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return " ".join(map(_shown, default))
    return default if isinstance(default, str) else f"{default:g}"
