"""aiohttp's sessions and connectors: their configuration and their open connections."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from poolscope.readings.pool_config import PoolConfig
from poolscope.watching.proxies import behind_proxies


def connector_of(target: Any) -> Any:
    """Return the connector of a session, where a tracer may have put a proxy, or the target."""
    return behind_proxies(target.connector) if isinstance(target, aiohttp.ClientSession) else target


def config_of(target: Any) -> PoolConfig:
    """Return the configuration of a connector, and of the session if `target` is one."""
    connector = connector_of(target)
    # A connector alone does not know the time limits of its sessions.
    timeout = getattr(target, "timeout", aiohttp.ClientTimeout(total=1.0, connect=1.0))
    queues = has_limit(connector)
    return PoolConfig(
        limit=connector.limit or math.inf,
        total_timeout=timeout.total or timeout.sock_read or math.inf,
        connect_timeout=timeout.connect or timeout.sock_connect or math.inf,
        queue_timeout=(timeout.connect or timeout.total or math.inf) if queues else 1.0,
        limited_per_host=connector.limit_per_host > 0,
        keeps_alive=not connector.force_close,
        caches_dns=getattr(connector, "use_dns_cache", True),
    )


def has_limit(connector: Any) -> bool:
    """Whether callers may have to wait for a slot."""
    return bool(connector.limit or connector.limit_per_host)


def verifies_tls(connector: Any) -> bool:
    """Whether a request without an option of its own has the server's certificate verified."""
    return getattr(connector, "_ssl", True) is not False


def is_unverified(key: Any, by_default: bool) -> bool:
    """
    Whether the certificate of the server, or of an https proxy, is not verified.

    key: the connection key of a request, whose `ssl` is True if it has no option of its own.
    by_default: whether that of a request without an option is verified.
    """
    is_tls = key.is_ssl or (key.proxy is not None and key.proxy.scheme in ("https", "wss"))
    return is_tls and (key.ssl is False or (not by_default and key.ssl in (True, None)))


def host_of(key: Any) -> str:
    """Return `host:port` of a connection key, an IPv6 address in brackets."""
    host = f"[{key.host}]" if ":" in key.host else key.host
    return host if key.port is None else f"{host}:{key.port}"


def existing(connector: Any) -> Iterator[tuple[str | None, Any, bool]]:
    """
    Yield host, protocol and whether it is in use, of the connections that are open now.

    Without a limit for each host, aiohttp does not know the hosts of those in use: they are None.
    """
    for key, idle in list(connector._conns.items()):
        for protocol, *_ in list(idle):
            if protocol.is_connected():
                yield host_of(key), protocol, False
    hosts = {
        id(protocol): host_of(key)
        for key, protocols in list(connector._acquired_per_host.items())
        for protocol in protocols
    }
    for protocol in list(connector._acquired):
        # The others are placeholders for connections that are being opened, and protocols whose
        # connection was lost while it was in use.
        if isinstance(protocol, ResponseHandler) and protocol.is_connected():
            yield hosts.get(id(protocol)), protocol, True
