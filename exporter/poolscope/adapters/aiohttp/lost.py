"""
Whether an aiohttp connection in use can still be returned.

A response that the application has dropped is not collected while its body arrives: the body's
stream keeps it, to return the connection at the end. But when nobody reads, aiohttp stops
receiving once its buffer is full, and the end never comes. Then the reference counts show whether
any code could still read.
"""

from __future__ import annotations

from typing import Any

from aiohttp import ClientResponse, StreamReader

from poolscope.ledger.references import COUNTS_ARE_EXACT, references

# Checked with aiohttp 3.9.0 to 3.14.5: ResponseHandler._payload, ._reading_paused,
#   StreamReader._eof_callbacks. The protocol, its parser and the response refer to the stream,
#   and the stream's callback refers to the response.


def is_lost(protocol: Any) -> bool:
    """Whether the connection waits for a reader, and nobody can read it any more."""
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


def _is_unread(protocol: Any, callback: Any) -> bool:
    return references(lambda: callback.__self__) == 1 and references(lambda: protocol._payload) == 3
