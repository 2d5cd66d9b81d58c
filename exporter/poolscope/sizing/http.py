"""Asks a server by HTTP, with a name and password from the address or from netrc."""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import ssl
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

TIMEOUT: Final = 30.0
"""Seconds for each request."""


class SourceError(Exception):
    """The numbers could not be had. The message is one line that names the address and why."""


def get(url: str, accept: str = "*/*", timeout: float = TIMEOUT) -> bytes:
    """Return the body of the answer. Raises SourceError."""
    address, credentials = without_credentials(url)
    headers = {"Accept": accept}
    credentials = credentials or _of_netrc(urlsplit(address).hostname)
    if credentials is not None:
        encoded = base64.b64encode(":".join(credentials).encode()).decode()
        headers["Authorization"] = f"Basic {encoded}"
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - checked by `check`
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 - as above
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        raise SourceError(f"{address} answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise SourceError(f"cannot reach {address}: {reason}") from None
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        raise SourceError(f"cannot reach {address}: {error or type(error).__name__}") from None
    return body


def check(url: str) -> str:
    """Return the address; raise ValueError, whose message says what is wrong with it."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{_shown(url)!r} is not an address such as http://127.0.0.1:9090")
    return url


def without_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return the address without the name and password that it may have, and these."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, None
    host = parts.netloc.rpartition("@")[2]
    credentials = unquote(parts.username), unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=host)), credentials


def _shown(url: str) -> str:
    """Return what may be an address, without a password."""
    before, at, after = url.rpartition("@")
    return f"...{at}{after}" if before else after


def _of_netrc(host: str | None) -> tuple[str, str] | None:
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2] or "") if found is not None else None
