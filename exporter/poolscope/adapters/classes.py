"""
The classes that objects of a pool's library have while they are watched.

An object is watched by changing its class to a subclass that adds nothing but methods. Such a
method calls the hooks, and then what the object's own class has at that moment, so that whoever
patches the class later is called too. To anyone who asks for its class, the object has its own.
Other objects of the class are not affected.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

Factory = Callable[[Any], Any]
"""Makes a method from a base, the class whose own method it calls; or makes a property."""

OURS: Final = "_poolscope_"
"""How the names of the attributes begin that a watched object has of us."""

HOOKS: Final = "_poolscope_hooks"
"""
The attribute in which a watched object has its hooks, if it has attributes of its own.

The hooks hold no reference to the object, or it would be part of a reference cycle.
"""

_NONE: Final[Mapping[str, Any]] = {}

set_class: Final[Callable[[Any, Any], None]] = vars(object)["__class__"].__set__

_BASE: Final = "_poolscope_base"
"""The attribute in which a class of this module has its base."""

_classes: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
"""By base, methods and properties: the subclass, for as long as an object has it."""


class Covered:
    """A base whose method is what an object has in an attribute of its own."""

    def __init__(self, name: str, covered: Any) -> None:
        def call(_: object, *args: Any, **kwargs: Any) -> Any:
            return covered(*args, **kwargs)

        self.covered: Final = covered
        setattr(self, name, call)


class Cover:
    """Stands in an attribute of a watched object for what the application has put there."""

    __slots__ = ("call", "covered", "target")

    def __init__(self, target: Any, name: str, covered: Any, factory: Factory) -> None:
        put = functools.partial(object.__setattr__, self)
        put("call", factory(Covered(name, covered)))
        put("covered", covered)
        put("target", weakref.ref(target))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        target = self.target()
        if target is None:
            return self.covered(*args, **kwargs)
        return self.call(target, *args, **kwargs)

    # For anything but a call it is what it covers, such as a mock that is asked for its calls.

    @property  # type: ignore[misc]  # an attribute of any object
    def __class__(self) -> Any:
        return self.covered.__class__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.covered, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.covered, name, value)


def watch_object(
    target: Any, methods: Mapping[str, Factory], properties: Mapping[str, Factory] = _NONE
) -> None:
    """
    Give the object these methods and properties; again with others: those instead.

    What the application has put into an attribute over a method is covered there. What it puts
    there later is left alone: that calls the method, or is meant to hide it.

    Raises TypeError if the class of the object cannot be changed.
    """
    own: Any = getattr(target, "__dict__", _NONE)
    base = own_class(target)
    if type(target) is base:
        covered = methods.keys() & own.keys()
    else:
        covered = {name for name, value in own.items() if type(value) is Cover}
    shown = {name: factory for name, factory in methods.items() if name not in covered}
    set_class(target, watched_class(base, {**shown, **properties}))
    for name in covered:
        if type(own[name]) is not Cover:
            own[name] = Cover(target, name, own[name], methods[name])


def unwatch_object(target: Any) -> None:
    """Give the object its own class again, and uncover its attributes; it may not be watched."""
    base = own_class(target)
    if type(target) is not base:
        set_class(target, base)
    own = getattr(target, "__dict__", {})
    for name, value in list(own.items()):
        if type(value) is Cover:
            own[name] = value.covered
        elif name.startswith(OURS):
            del own[name]


def is_watched(target: Any) -> bool:
    """Whether the object has hooks; it has none when a method of it was kept beyond the watch."""
    return HOOKS in getattr(target, "__dict__", _NONE)


def own_class(target: Any) -> Any:
    """Return the class that the object has without a watch."""
    cls = type(target)
    return vars(cls).get(_BASE, cls)


def watched_class(base: Any, factories: Mapping[str, Factory]) -> Any:
    """Return the subclass of `base` that has what the factories make."""
    key = base, frozenset(factories.items())
    cls = _classes.get(key)
    if cls is None:
        cls = _classes[key] = _new_class(base, factories)
    return cls


def stock_of(base: Any, name: str) -> Any:
    """
    Return the plain function that is the method `name` of `base` now.

    A method calls it while `base.name is stock`, as `bound` takes long. If the method is no plain
    function, what is returned is never the method.
    """
    function = _found(base, name)
    return function if isinstance(function, types.FunctionType) else object()


def bound(base: Any, name: str, target: Any) -> Any:
    """Return what `target.name` would be if the class of the object were `base`."""
    if isinstance(base, Covered):
        return base.covered
    found = _found(base, name)
    # A mock in the place of a method is called without the object.
    return found.__get__(target, base) if hasattr(type(found), "__get__") else found


def _found(base: Any, name: str) -> Any:
    """Return what stands in the class, or in one that it inherits from."""
    if isinstance(base, Covered):
        return getattr(base, name)
    for cls in base.__mro__:
        if name in vars(cls):
            return vars(cls)[name]
    raise AttributeError(name)


def _new_class(base: Any, factories: Mapping[str, Factory]) -> Any:
    def own(_: object) -> Any:
        return base

    def reduce_ex(self: Any, protocol: Any) -> Any:
        return _as_unwatched(base.__reduce_ex__(self, protocol), cls, base)

    namespace: dict[str, Any] = {
        "__slots__": (),
        _BASE: base,
        "__class__": property(own, set_class),
        "__reduce_ex__": reduce_ex,
        **{name: getattr(base, name) for name in ("__module__", "__qualname__", "__doc__")},
    }
    for name, factory in factories.items():
        namespace[name] = _disguised(factory(base), getattr(base, name, None))
    cls = types.new_class(base.__name__, (base,), exec_body=lambda body: body.update(namespace))
    return cls


def _disguised(method: Any, original: Any) -> Any:
    """Give a function the names and the signature of what it stands for."""
    if isinstance(method, types.FunctionType) and isinstance(original, types.FunctionType):
        functools.update_wrapper(method, original)
    return method


def _as_unwatched(reduced: Any, cls: Any, base: Any) -> Any:
    """Return how an object is copied or pickled, without its hooks and with its own class."""
    if not isinstance(reduced, tuple):
        return reduced
    make, arguments, *rest = reduced
    arguments = tuple(base if argument is cls else argument for argument in arguments)
    if rest:
        rest[0] = _without_hooks(rest[0])
    return make, arguments, *rest


def _without_hooks(state: Any) -> Any:
    if isinstance(state, dict):
        return {
            name: value.covered if type(value) is Cover else value
            for name, value in state.items()
            if not name.startswith(OURS)
        }
    if isinstance(state, tuple):  # of the dictionary and the slots
        return tuple(map(_without_hooks, state))
    return state
