"""
Functions that replace the methods of one object, and how the methods are restored.

The object keeps its type, and other objects of that type are not affected. Nothing reads the
object's `__dict__`: Python would create one, which takes a kilobyte, where attributes are stored
inline.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any


def wrap_method(
    target: object, name: str, wrap: Callable[[Any], Callable[..., Any]], owner: object
) -> None:
    """
    Replace the method `name` of this one object by a method of `owner`.

    `wrap(original)` makes its function, which takes `owner` before the arguments of the call.
    """
    original = getattr(target, name)
    wrapper: Any = wrap(original)
    if not _is_method_of_type(original, target, name):
        # Only then, as the attributes of a function take 200 bytes.
        wrapper.covered = original
    setattr(target, name, MethodType(wrapper, owner))


class MethodPatch:
    """
    A callable in the place of a method: calls `instead(owner, target, original, *args)`.

    It takes a fifth of the memory of what `wrap_method` makes, and more time.

    covered: what the object had in its own attribute before; None if the method was its type's.
    """

    __slots__ = ("covered", "instead", "name", "owner", "target")

    def __init__(
        self, target: object, name: str, instead: Callable[..., Any], owner: object
    ) -> None:
        self.target = target
        self.name = name
        self.instead = instead
        self.owner = owner
        current = getattr(target, name)
        self.covered = None if _is_method_of_type(current, target, name) else current

    @property
    def original(self) -> Any:
        if self.covered is not None:
            return self.covered
        return MethodType(getattr(type(self.target), self.name), self.target)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.instead(self.owner, self.target, self.original, *args, **kwargs)


def replace_method(target: object, name: str, instead: Callable[..., Any], owner: object) -> None:
    """Call `instead` in the place of a method that is seldom called; see `MethodPatch`."""
    setattr(target, name, MethodPatch(target, name, instead, owner))


def is_patched_by(target: object, name: str, owner: object) -> bool:
    """Whether `owner` has replaced the method `name`, and nobody else has replaced it since."""
    return _owner_of(getattr(target, name, None)) is owner


def restore_method(target: object, name: str, owner: object) -> None:
    """
    Restore the method `name`, if it is `owner` who has replaced it.

    If somebody else has wrapped our function since, theirs still calls ours, and both stay.
    """
    patch = getattr(target, name, None)
    if _owner_of(patch) is not owner:
        return
    covered = getattr(patch, "covered", None)
    if covered is None:
        delattr(target, name)
    else:
        setattr(target, name, covered)


def _is_method_of_type(method: object, target: object, name: str) -> bool:
    """Whether the method comes from the object's type, and not from an attribute of its own."""
    return (
        isinstance(method, MethodType)
        and method.__self__ is target
        and method.__func__ is getattr(type(target), name, None)
    )


def _owner_of(patch: object) -> object:
    """Return the owner of what lies in the place of a method, or None if it is not a patch."""
    # By its exact type: a proxy, as of wrapt, has the attributes and the class of what it wraps.
    if type(patch) is MethodPatch:
        return patch.owner
    return patch.__self__ if type(patch) is MethodType else None
