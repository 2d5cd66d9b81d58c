"""
Calls a function after each call of a method of a class, such as `__init__`.

SQLAlchemy reads the names of the parameters of an `__init__` from its code. So what stands in the
place of a method has the same parameters, which takes code that is made here.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

from poolscope.errors import harmless_once

Finished = Callable[[Any, FrameType], None]
"""Is called with the object, and the frame that has called the method."""

_MARK: Final = "_poolscope_followed"
"""The attribute in which what stands in the place of a method has its `Followed`."""

_STARS: Final[dict[Any, str]] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


class Followed:
    """
    A method that is followed.

    code: of what stands in its place. A patch over that may have taken over its attributes.
    """

    def __init__(self, original: FunctionType) -> None:
        self.original: Final = original
        self.code: CodeType | None = None
        self.finished: Finished = _nothing

    def call(self, target: Any, caller: FrameType) -> None:
        self.finished(target, caller)


def _nothing(target: Any, caller: FrameType) -> None:
    pass


def follow(cls: Any, name: str, finished: Finished) -> None:
    """
    Call `finished` after each call of the class's own method that does not raise.

    It takes the place of what was to be called before. If the class has no such method of its own,
    nothing is changed.
    """
    method = vars(cls).get(name)
    if not isinstance(method, FunctionType):
        return
    followed = getattr(method, _MARK, None)
    if followed is None:
        followed = Followed(method)
        setattr(cls, name, _in_place_of(method, followed))
    followed.finished = harmless_once(finished)


def unfollow(cls: Any, name: str) -> None:
    """Give the class its own method back; where another patch lies over it, call nothing more."""
    method = vars(cls).get(name)
    followed = getattr(method, _MARK, None)
    if followed is not None:
        followed.finished = _nothing
        if getattr(method, "__code__", None) is followed.code:
            setattr(cls, name, followed.original)


def _in_place_of(original: FunctionType, followed: Followed) -> FunctionType:
    parameters = list(inspect.signature(original).parameters.values())
    first = parameters[0].name
    method, result, call, done, caller = (
        _free(name, parameters) for name in ("method", "result", "original", "finished", "caller")
    )
    # A traceback shows these lines.
    source = "\n" * (_in_place_of.__code__.co_firstlineno + 7) + (
        f"def {method}({_declared(parameters)}):\n"
        f"    {result} = {call}({_passed(parameters)})\n"
        f"    {done}({first}, {caller}(1))\n"
        f"    return {result}\n"
    )
    namespace: dict[str, Any] = {
        "__name__": __name__,
        call: original,
        done: followed.call,
        caller: sys._getframe,
        **{f"default_{number}": each.default for number, each in enumerate(parameters)},
    }
    # With the path of this file, so that its lines count as those of poolscope.
    exec(compile(source, __file__, "exec"), namespace)  # noqa: S102 - there is no other way
    function: FunctionType = namespace[method]
    functools.update_wrapper(function, original)
    followed.code = function.__code__
    setattr(function, _MARK, followed)
    return function


def _free(name: str, parameters: list[inspect.Parameter]) -> str:
    """Return a name that no parameter has."""
    while any(each.name == name for each in parameters):
        name = f"_{name}"
    return name


def _declared(parameters: list[inspect.Parameter]) -> str:
    """Return the parameters of the method as its definition has them."""
    declared: list[str] = []
    for number, each in enumerate(parameters):
        if each.kind is each.KEYWORD_ONLY and not any("*" in one for one in declared):
            declared.append("*")
        default = "" if each.default is each.empty else f"=default_{number}"
        declared.append(f"{_STARS.get(each.kind, '')}{each.name}{default}")
        later = parameters[number + 1 : number + 2]
        if each.kind is each.POSITIONAL_ONLY and (
            not later or later[0].kind is not each.POSITIONAL_ONLY
        ):
            declared.append("/")
    return ", ".join(declared)


def _passed(parameters: list[inspect.Parameter]) -> str:
    """Return the arguments of the call of the method."""
    return ", ".join(
        f"{each.name}={each.name}"
        if each.kind is each.KEYWORD_ONLY
        else f"{_STARS.get(each.kind, '')}{each.name}"
        for each in parameters
    )
