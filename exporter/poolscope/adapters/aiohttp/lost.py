"""
Whether an aiohttp connection in use can still be returned.

A response that the application has dropped is not collected while its body arrives: the body's
stream keeps it, to return the connection at the end. But when nobody reads, aiohttp stops
receiving once its buffer is full, and the end never comes. Then the reference counts show whether
any code could still read.

A websocket that the application has dropped is not collected either if it has a heartbeat: the
timers keep it. When they hold the only references, no code can close it any more.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any, Final

from aiohttp import ClientResponse, ClientWebSocketResponse, StreamReader

from poolscope.adapters.aiohttp.protocols import is_upgraded
from poolscope.ledger.references import COUNTS_ARE_EXACT, references

# Checked with aiohttp 3.9.0 to 3.14.5: ResponseHandler._payload, ._reading_paused,
#   StreamReader._eof_callbacks. The protocol, its parser and the response refer to the stream,
#   and the stream's callback refers to the response.
#   ResponseHandler._data_received_cb (from 3.14 on), ClientWebSocketResponse._reader,
#   ._heartbeat, and `_CALLBACKS`, those that the version has.

_CALLBACKS: Final = (
    "_heartbeat_cb",
    "_pong_response_cb",
    "_heartbeat_reset_handle",
    "_ping_task",
)
"""What a websocket with a heartbeat has: timers, handles and tasks that call its methods."""

_SOCKET: Final = "_poolscope_socket"
"""The attribute in which a watched protocol has a weak reference to its websocket."""


def is_lost(protocol: Any) -> bool:
    """
    Whether nobody can return the connection any more: one that waits for a reader, or a websocket.
    """
    if is_upgraded(protocol):
        return COUNTS_ARE_EXACT and _is_lost_socket(protocol)
    return bool(protocol._reading_paused) and is_dropped(protocol)


def is_dropped(protocol: Any) -> bool:
    """Whether nobody can read it any more; the end of its body may still return it."""
    payload = getattr(protocol, "_payload", None)
    if not (COUNTS_ARE_EXACT and isinstance(payload, StreamReader)):
        return False
    callbacks = payload._eof_callbacks
    del payload
    for callback in callbacks:
        if isinstance(getattr(callback, "__self__", None), ClientResponse):
            return _is_unread(protocol, callback)
    return False


def is_returning(protocol: Any) -> bool:
    """
    Whether the response has arrived in full, so that the connection comes back by itself.

    aiohttp returns it once the request is sent as well. That is later if the server answers early;
    and before aiohttp 3.11 with uvloop after every request, a moment after the caller has left it.
    """
    payload = getattr(protocol, "_payload", None)
    return payload is not None and not protocol.upgraded and payload.is_eof()


def _is_unread(protocol: Any, callback: Any) -> bool:
    return references(lambda: callback.__self__) == 1 and references(lambda: protocol._payload) == 3


def _is_lost_socket(protocol: Any) -> bool:
    find = vars(protocol).get(_SOCKET)
    if find is None:
        find = vars(protocol)[_SOCKET] = _find_socket(protocol)
    own = _own_references(protocol, find())
    if not own:
        return False  # Python collects it when it is dropped
    count = references(find)
    # The event loop may have called a timer meanwhile, so there may be others now.
    return count == len(own) and own == _own_references(protocol, find())


def _find_socket(protocol: Any) -> Callable[[], Any]:
    """Return a weak reference to the websocket of a protocol, if it may have a heartbeat."""
    if hasattr(protocol, "_data_received_cb"):
        socket = getattr(protocol._data_received_cb, "__self__", None)
    else:
        # It was made after the protocol had its reader, so nothing of it was seen then.
        socket = _socket_that_reads(protocol._payload)
    return weakref.ref(socket) if isinstance(socket, ClientWebSocketResponse) else _no_socket


def _no_socket() -> None:
    return None


def _socket_that_reads(reader: object) -> object:
    """Search for the websocket, which takes long, but is done once for each."""
    referrers = gc.get_referrers(reader)
    dictionaries = [referrer for referrer in referrers if type(referrer) is dict]
    for candidate in [*referrers, *gc.get_referrers(*dictionaries)]:
        if isinstance(candidate, ClientWebSocketResponse) and candidate._reader is reader:
            return candidate
    return None


def _own_references(protocol: Any, socket: Any) -> list[int]:
    """Return the ids of what refers to the websocket to call its methods, one by reference."""
    if socket is None:
        return []
    own = []
    callback = getattr(protocol, "_data_received_cb", None)
    if getattr(callback, "__self__", None) is socket:
        own.append(id(callback))
    for name in _CALLBACKS:
        caller = vars(socket).get(name)
        methods = gc.get_referents(caller) if caller is not None else ()
        own.extend(id(caller) for method in methods if _is_method_of(method, socket))
    return own


def _is_method_of(method: object, socket: object) -> bool:
    return isinstance(method, MethodType) and method.__self__ is socket
