"""
What pools are watched with: the environment variables that `poolscope run` sets for its command.

`poolscope.autowatch` reads them too. It never raises into the application for a value that is
wrong: it logs that, and uses the default. `poolscope run` refuses it before the command runs.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from poolscope.errors import logger
from poolscope.launching.names import Names, named
from poolscope.readings.application_names import APPLICATION_NAME_VARIABLE
from poolscope.watching.options import USUAL, WatchOptions

NAMES_VARIABLE: Final = "POOLSCOPE_NAMES"
LEAK_AFTER_VARIABLE: Final = "POOLSCOPE_LEAK_AFTER"
CALL_SITES_VARIABLE: Final = "POOLSCOPE_CALL_SITES"

OFF: Final = "off"
"""The `leak_after` of pools whose connections are never overdue."""


class Settings(NamedTuple):
    """
    What pools that nobody has named are watched with.

    names: the first pattern that matches the default name of a pool gives it its name.
    """

    names: Names = ()
    options: WatchOptions = USUAL


def names_of(text: str) -> Names:
    """
    Return the pairs in `PATTERN=NAME ...`, which are separated by spaces; quotes are a shell's.

    Raises ValueError.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r} has a quote that is not closed") from error
    return tuple(named(part) for part in parts)


def leak_after_of(text: str) -> float | None:
    """Return the seconds, or None for `off`. Raises ValueError."""
    if text == OFF:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{text!r} is not a positive number of seconds, or {OFF}")
    return seconds


def is_on(text: str) -> bool:
    """Return whether a switch is on. Raises ValueError."""
    switches = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
    if text.lower() not in switches:
        raise ValueError(f"{text!r} is neither 1 nor 0")
    return switches[text.lower()]


_PARTS: Final[dict[str, Callable[[str], Any]]] = {
    NAMES_VARIABLE: names_of,
    LEAK_AFTER_VARIABLE: leak_after_of,
    CALL_SITES_VARIABLE: is_on,
    APPLICATION_NAME_VARIABLE: str,
}


def of_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in the environment; what is wrong there is logged, and left out."""
    environment = os.environ if environment is None else environment
    found: dict[str, Any] = {}
    for variable, parse in _PARTS.items():
        text = environment.get(variable)
        if not text:
            continue
        try:
            found[variable] = parse(text)
        except ValueError as error:
            logger().warning("%s is ignored: %s", variable, error)
    return Settings(
        found.get(NAMES_VARIABLE, ()),
        WatchOptions(
            found.get(LEAK_AFTER_VARIABLE, USUAL.leak_after),
            found.get(CALL_SITES_VARIABLE, USUAL.call_sites),
            found.get(APPLICATION_NAME_VARIABLE),
        ),
    )
