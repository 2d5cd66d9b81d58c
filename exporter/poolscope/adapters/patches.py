"""
Functions put over the methods of one object, and taken off again.

The type of the object stays, and so do all other objects of the type. Nothing looks at the object's
`__dict__`: Python would make one, which takes a kilobyte, where attributes lie in the object.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import FunctionType, MethodType
from typing import Any


def wrap_method(target: object, name: str, wrap: Callable[[Any], Callable[..., Any]]) -> None:
    """
    Put `wrap(original)` over the method `name` of this one object.

    What `wrap` returns is a function that uses `original`, and the `self` whose method `wrap` is,
    under these names: that says all that is needed to take it off, and dies with it.
    """
    setattr(target, name, wrap(getattr(target, name)))


class MethodPatch:
    """
    What is called in the place of a method, or what `covered` it: `instead`, with the owner, the
    object and the original before the arguments of the call.

    It takes a fifth of the memory of what `wrap_method` makes, and more time.
    """

    __slots__ = ("covered", "instead", "name", "owner", "target")

    def __init__(
        self, target: object, name: str, instead: Callable[..., Any], owner: object
    ) -> None:
        self.target = target
        self.name = name
        self.instead = instead
        self.owner = owner
        found = getattr(target, name)
        self.covered = None if _is_of_type(found, target, name) else found

    @property
    def original(self) -> Any:
        if self.covered is not None:
            return self.covered
        return MethodType(getattr(type(self.target), self.name), self.target)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.instead(self.owner, self.target, self.original, *args, **kwargs)


def replace_method(target: object, name: str, instead: Callable[..., Any], owner: object) -> None:
    """Have `instead` called in the place of a method that is seldom called; see `MethodPatch`."""
    setattr(target, name, MethodPatch(target, name, instead, owner))


def is_patched_by(target: object, name: str, owner: object) -> bool:
    """Whether `owner` has put something over the method `name`, and nobody else has since."""
    return _owner_and_original(getattr(target, name, None))[0] is owner


def restore_method(target: object, name: str, owner: object) -> None:
    """
    Take off what `owner` has put over the method `name`.

    If somebody else has since put a function over it, that one calls ours, which stays.
    """
    found, original = _owner_and_original(getattr(target, name, None))
    if found is not owner:
        return
    if _is_of_type(original, target, name):
        delattr(target, name)
    else:
        setattr(target, name, original)


def _is_of_type(method: object, target: object, name: str) -> bool:
    """Whether that is what the object has of its type, rather than something of its own."""
    return (
        isinstance(method, MethodType)
        and method.__self__ is target
        and method.__func__ is getattr(type(target), name, None)
    )


def _owner_and_original(over: object) -> tuple[object, Any]:
    """Return whose something is that lies over a method, and what it covers; or None for both."""
    if isinstance(over, MethodPatch):
        return over.owner, over.original
    return _variable(over, "self"), _variable(over, "original")


def _variable(function: object, name: str) -> Any:
    """Return what a function has from the one that it was made in, or None."""
    if isinstance(function, FunctionType) and name in function.__code__.co_freevars:
        place = function.__code__.co_freevars.index(name)
        with suppress(ValueError):  # there is nothing in it yet
            return (function.__closure__ or ())[place].cell_contents
    return None
