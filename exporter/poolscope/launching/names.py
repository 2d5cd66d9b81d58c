"""Names for pools that nobody names: the first pattern that matches the default name counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeAlias

Names: TypeAlias = "tuple[tuple[str, str], ...]"
"""Pairs of a pattern, as of file names, and a name."""


def named(text: str) -> tuple[str, str]:
    """Return the pattern and the name in `PATTERN=NAME`. Raises ValueError."""
    pattern, equals, name = text.partition("=")
    if not (pattern and equals and name):
        raise ValueError(f"{text!r} is not PATTERN=NAME, such as 'orders@*=orders'")
    return pattern, name


def names_from(names: Mapping[str, str] | Iterable[str | tuple[str, str]] | None) -> Names:
    """
    Return the pairs that an application gives: a mapping, or a sequence of pairs or `PATTERN=NAME`.

    Raises TypeError or ValueError.
    """
    if names is None:
        return ()
    if isinstance(names, str):
        raise TypeError(f"names must be a mapping or a sequence of PATTERN=NAME, not {names!r}")
    items = names.items() if isinstance(names, Mapping) else names
    return tuple(named(each) if isinstance(each, str) else _pair(each) for each in items)


def _pair(pair: object) -> tuple[str, str]:
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise TypeError(f"names must be a mapping or a sequence of PATTERN=NAME, not of {pair!r}")
    pattern, name = pair
    if not (isinstance(pattern, str) and isinstance(name, str)):
        raise TypeError(f"a pattern and its name must be strings, not {pair!r}")
    if not (pattern and name):
        raise ValueError(f"neither a pattern nor its name may be empty: {pair!r}")
    return pattern, name


def name_of(default: str, names: Names) -> str | None:
    """Return the name for a pool with that default name, or None if no pattern matches."""
    for pattern, name in names:
        if fnmatchcase(default, pattern):
            return name
    return None
