"""
The changes of one event, which take effect together or not at all.

An event changes the dictionaries and the numbers of its ledger at once, and notes how to take each
change back. `commit` makes the event final. It is one call of C code, so no exception of a signal
handler and no other thread comes in between. If the event is interrupted before, `roll_back`
restores what was there; it may itself be interrupted and called again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat, starmap
from operator import call, setitem
from typing import Any, Final, TypeAlias, TypeVar

K = TypeVar("K")
V = TypeVar("V")

Action: TypeAlias = tuple[Any, ...]
"""A function of C code, and its arguments."""

Step: TypeAlias = tuple[Any, Any, Any]
"""A container, a key, and what the container had there: a value, `MISSING`, or `TAKEN`."""

MISSING: Final = object()
"""The dictionary did not have the key."""

TAKEN: Final = object()
"""In the place of a key: the value was taken from a list, to which it goes back."""


def perform(actions: Iterable[Action]) -> list[Any]:
    """Call each function with its arguments, all in one call of C code; return the results."""
    return list(starmap(call, actions))


class Changes:
    """
    The changes of the event that is being applied. The caller of a method holds the lock.

    steps: how to take them back, oldest first. A step is noted before its change is made.
    """

    __slots__ = ("_at_commit", "steps")

    def __init__(self) -> None:
        self.steps: Final[list[Step]] = []
        self._at_commit: Final[list[Action]] = []

    def note(self, values: Any, part: slice) -> None:
        """Note what a part of an array has before an event changes any of it."""
        self.steps.append((values, part, values[part]))

    def put(self, mapping: dict[K, V], key: K, value: V) -> None:
        """Set an entry of a dictionary."""
        self.steps.append((mapping, key, mapping.get(key, MISSING)))
        mapping[key] = value

    def pop(self, mapping: dict[K, V], key: K) -> V | None:
        """Remove an entry of a dictionary, and return it if there was one."""
        before: Any = mapping.get(key, MISSING)
        if before is MISSING:
            return None
        self.steps.append((mapping, key, before))
        # The hot path may have removed it meanwhile.
        return mapping.pop(key, None)

    def take(self, values: list[int]) -> int:
        """Remove and return the last value of a list, or 0 if it is empty."""
        try:
            # One call, so that an exception cannot come between the two changes.
            self.steps.extend(zip((values,), (TAKEN,), map(list.pop, (values,)), strict=False))
        except IndexError:
            return 0
        value: int = self.steps[-1][2]
        return value

    def at_commit(self, *action: Any) -> None:
        """Let `commit` call a function of C code with these arguments."""
        self._at_commit.append(action)

    def set_at_commit(self, values: Any, keys: Iterable[Any], value: Any) -> None:
        """Let `commit` set several entries to the same value."""
        self._at_commit.extend(zip(repeat(setitem), repeat(values), keys, repeat(value)))

    def commit(self, first: Iterable[Action], last: Iterable[Action]) -> None:
        """Make the event final: call `first`, what `at_commit` has collected, and `last`."""
        collected = self._at_commit
        perform([*first, *collected, *last, (collected.clear,), (self.steps.clear,)])

    def clear(self) -> None:
        """Forget everything."""
        self._at_commit.clear()
        self.steps.clear()

    def roll_back(self) -> None:
        """Take back what an interrupted event has changed."""
        self._at_commit.clear()
        while self.steps:
            container, key, value = self.steps[-1]
            if key is TAKEN:
                perform([(container.append, value), (self.steps.pop,)])
            elif value is MISSING:
                perform([(container.pop, key, None), (self.steps.pop,)])
            else:
                perform([(setitem, container, key, value), (self.steps.pop,)])
