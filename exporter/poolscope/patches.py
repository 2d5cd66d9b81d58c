"""Functions put over the methods of one object, and taken off again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

MARK: Final = "__poolscope__"


class Mark(NamedTuple):
    """What is needed to take a function off; kept at the function, so that it dies with it."""

    owner: object
    covered: Any
    """What the object's own dictionary had under the name, or None."""


def put_over(
    target: object, name: str, wrap: Callable[[Any], Callable[..., Any]], owner: object
) -> None:
    """
    Put `wrap(original)` over the method `name` of this one object.

    The type of the object stays, and so do all other objects of the type.
    """
    wrapper = wrap(getattr(target, name))
    setattr(wrapper, MARK, Mark(owner, vars(target).get(name)))
    setattr(target, name, wrapper)


def take_off(target: object, name: str, owner: object) -> None:
    """
    Take off what `owner` has put over the method `name`.

    If somebody else has since put a function over it, that one calls ours, which stays.
    """
    mark = getattr(vars(target).get(name), MARK, None)
    if mark is None or mark.owner is not owner:
        return
    if mark.covered is None:
        delattr(target, name)
    else:
        setattr(target, name, mark.covered)
