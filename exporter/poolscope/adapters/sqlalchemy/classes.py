"""
The methods that SQLAlchemy pools have while they are watched.

The first two run for every use of a connection.
"""

from __future__ import annotations

import functools
from asyncio import _get_running_loop
from itertools import starmap
from typing import Any, Final

from poolscope.adapters.classes import HOOKS, bound, is_watched, stock_of
from poolscope.adapters.loops import used_in_other_loop
from poolscope.adapters.sqlalchemy.pools import driver_loop
from poolscope.errors import report

# Checked with SQLAlchemy 2.0.0, 2.0.58 and 2.1.9:
#   Pool.dispatch.checkout
#   Pool._do_get() -> record, Pool._do_return_conn(record), Pool._invoke_creator(record), which is
#     an attribute of the pool; Pool._close_connection(connection, *, terminate=False)
#   _ConnectionRecord.fairy_ref, a weak reference to the caller's proxy


def _connect(base: Any) -> Any:
    stock = stock_of(base, "connect")

    def connect(self: Any) -> Any:
        try:
            hooks = self._poolscope_hooks
        except AttributeError:  # no longer watched
            return bound(base, "connect", self)()
        if self.dispatch.checkout is not self._poolscope_listeners or hooks.of_all_pools:
            hooks.watch_checkout(self)
        started = hooks.clock()
        if started >= hooks.ledger.due_at:
            hooks.check_if_due(started)
        try:
            proxied = stock(self) if base.connect is stock else bound(base, "connect", self)()
        except BaseException as error:
            hooks.failed(error, started)
            raise
        try:
            record = proxied._connection_record
            if hooks.unusual:
                hooks.served_unusually(proxied, started)
            else:
                who = hooks.ledger.begin(id(record), started, record.fairy_ref)
                if who is not None:
                    hooks.served(proxied, started, who)
                if hooks.is_bound_to_a_loop and driver_loop(record) is not _get_running_loop():
                    used_in_other_loop(hooks.watched)
        except BaseException as error:  # also if there is no record
            hooks.not_begun(proxied, started, error)
        return proxied

    return connect


def _do_return_conn(base: Any) -> Any:
    def _do_return_conn(self: Any, record: Any) -> None:
        # Recorded before the pool has it back, because another thread may take it at once.
        try:
            hooks = self._poolscope_hooks
            if record.dbapi_connection is None or not hooks.ledger.end(id(record), hooks.clock()):
                hooks.returned(record)
        except BaseException as error:
            try:
                if is_watched(self):
                    self._poolscope_hooks.returned(record)
            finally:
                # Whatever happens here, or the pool would lose the connection.
                base._do_return_conn(self, record)
            if is_watched(self) or not isinstance(error, AttributeError):
                report("PoolHooks.returned", error)
        else:
            base._do_return_conn(self, record)

    return _do_return_conn


def _do_get(base: Any) -> Any:
    stock = stock_of(base, "_do_get")

    def _do_get(self: Any) -> Any:
        get = (
            functools.partial(stock, self)
            if base._do_get is stock
            else bound(base, "_do_get", self)
        )
        # One call gets the record and keeps it, so that an exception cannot come between.
        records: list[Any] = []
        try:
            records.extend(starmap(get, ((),)))
            if is_watched(self):
                self._poolscope_hooks.taken(records[0])
        except BaseException:
            if records:
                self._do_return_conn(records[0])
            raise
        return records[0]

    return _do_get


def _close_connection(base: Any) -> Any:
    def _close_connection(self: Any, connection: Any, **how: Any) -> None:
        close = bound(base, "_close_connection", self)
        if not is_watched(self):
            close(connection, **how)
            return
        hooks = self._poolscope_hooks
        try:
            hooks.closed(connection)
            hooks.closes[id(connection)] = None
        finally:
            # Whatever happens here, or the connection would stay open.
            try:
                close(connection, **how)
            finally:
                hooks.closes.pop(id(connection), None)

    return _close_connection


def _dispose(base: Any) -> Any:
    def dispose(self: Any) -> None:
        if is_watched(self):
            self._poolscope_hooks.disposing(self)
        bound(base, "dispose", self)()

    return dispose


def _recreate(base: Any) -> Any:
    def recreate(self: Any) -> Any:
        pool = bound(base, "recreate", self)()
        if is_watched(self):
            self._poolscope_hooks.replaced(pool)
        return pool

    return recreate


def _invoke_creator(_: Any) -> Any:
    """The pool has this function in an attribute, and replaces it together with its creator."""

    def get(self: Any) -> Any:
        create = vars(self)["_invoke_creator"]
        hooks = vars(self).get(HOOKS)
        return create if hooks is None else functools.partial(hooks.open, create)

    def put(self: Any, create: Any) -> None:
        vars(self)["_invoke_creator"] = create

    def delete(self: Any) -> None:
        del vars(self)["_invoke_creator"]

    return property(get, put, delete)


METHODS: Final = {
    "connect": _connect,
    "_do_return_conn": _do_return_conn,
    "_close_connection": _close_connection,
    "dispose": _dispose,
    "recreate": _recreate,
}
METHODS_WITH_CHECKOUT: Final = {**METHODS, "_do_get": _do_get}
"""For a pool in which a connection is in use before its caller gets it."""

PROPERTIES: Final = {"_invoke_creator": _invoke_creator}
