"""The methods that the protocols of aiohttp connections have while they are watched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from aiohttp.client_proto import ResponseHandler

from poolscope.adapters.classes import HOOKS, Factory, bound, watch_object

# Checked with aiohttp 3.9.0 to 3.14.5: ResponseHandler.close(), connection_lost(); abort() is
#   newer than 3.9.0; is_connected(); set_parser(), which only websockets call, ._payload_parser.


class Recording(Protocol):
    """What is told that a connection was lost, or has become a websocket."""

    def lost(self, protocol: Any) -> object: ...
    def upgraded(self, protocol: Any) -> object: ...


def watch_protocol(protocol: Any, recording: Recording) -> None:
    """
    Tell the recording when the connection of the protocol is upgraded, closed or lost.

    What only looks like a protocol, such as a mock, is left as it is.
    """
    if not issubclass(type(protocol), ResponseHandler):
        return
    protocol._poolscope_hooks = recording
    watch_object(protocol, METHODS)


def _losing(name: str) -> Factory:
    """
    Return the factory of a method of a protocol, after which its connection is lost.

    The method of aiohttp is called even if an exception from outside comes before that: the
    connection would stay open, and nobody would close it any more.
    """

    def factory(base: Any) -> Any:
        def lose(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                hooks = vars(self).get(HOOKS)
                method = bound(base, name, self)
            except BaseException:
                lose(self, *args, **kwargs)
                raise
            try:
                result = method(*args, **kwargs)
                return result  # noqa: RET504  # an exception may come after the call
            finally:
                if hooks is not None:
                    try:
                        _tell_if_lost(hooks, self)
                    except BaseException:
                        # It may have come before the hook; a second time changes nothing.
                        _tell_if_lost(hooks, self)
                        raise

        return lose

    return factory


def _tell_if_lost(hooks: Recording, protocol: Any) -> None:
    if not protocol.is_connected():
        hooks.lost(protocol)


def _set_parser(base: Any) -> Any:
    def set_parser(self: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = vars(self).get(HOOKS)
        try:
            return bound(base, "set_parser", self)(*args, **kwargs)
        finally:
            # It may have read that the websocket is already closed.
            if hooks is not None and is_upgraded(self):
                hooks.upgraded(self)

    return set_parser


def is_upgraded(protocol: Any) -> bool:
    """Whether the connection is a websocket."""
    return getattr(protocol, "_payload_parser", None) is not None


METHODS: Final[Mapping[str, Factory]] = {
    "set_parser": _set_parser,
    **{
        name: _losing(name)
        for name in ("close", "abort", "connection_lost")
        if hasattr(ResponseHandler, name)
    },
}
