"""Checks DSNs, and names the servers in them. No name and no error has a secret in it."""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

SCHEMES: Final = ("postgresql", "postgres")
IN_BRACKETS: Final = re.compile(r"\[([^]]+)\](?::(.*))?")
"""An IPv6 address in brackets, with or without a port."""


def check(dsn: str) -> None:
    """Raise ValueError if a DSN is malformed; the message is one line that does not repeat it."""
    label(dsn)


def label(dsn: str) -> str:
    """
    Return `host:port` of a DSN, or `folder:port` for a Unix socket, and nothing else of it.

    If there are several hosts, it is the first. Raises ValueError as `check` does.
    """
    url = _split(dsn)
    options = _options(url.query)
    hosts = unquote(url.netloc.rpartition("@")[2].partition(",")[0])
    if hosts and options.keys() & {"host", "port"}:
        raise ValueError("not a DSN: it has a host before the ? and another host or port after it")
    host, port = _host_and_port(hosts or options.get("host") or os.environ.get("PGHOST", ""))
    port = port or options.get("port") or os.environ.get("PGPORT") or "5432"
    port = port.partition(",")[0]
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("not a DSN: its port is not a number from 1 to 65535")
    host = host or "localhost"
    return f"[{host}]:{port}" if ":" in host and host[0] != "/" else f"{host}:{port}"


def _split(dsn: str) -> SplitResult:
    if dsn.partition("://")[0] not in SCHEMES:
        raise ValueError("not a DSN: it does not begin with postgresql:// or postgres://")
    if not dsn.isprintable():
        raise ValueError("not a DSN: it has a line break or another unprintable character")
    try:
        url = urlsplit(dsn)
    except ValueError:
        # The message of urlsplit may repeat the password.
        raise ValueError("not a DSN: its host is malformed") from None
    # Libraries would take the rest of such a password for a host, a port or a database, and repeat
    # it in their errors.
    if url.netloc.count("@") > 1 or "@" in url.path + url.query or "#" in dsn:
        raise ValueError(
            "not a DSN: write @ / ? # in a user, password or option as %40 %2F %3F %23"
        )
    return url


def _options(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError("not a DSN: what follows the ? must be name=value&name=value") from None


def _host_and_port(text: str) -> tuple[str, str]:
    """Return the first host and its port; both may be empty."""
    first = text.partition(",")[0]
    if match := IN_BRACKETS.fullmatch(first):
        return match[1], match[2] or ""
    if first.startswith("/") or first.count(":") > 1:
        return first, ""
    host, _, port = first.partition(":")
    return host, port
