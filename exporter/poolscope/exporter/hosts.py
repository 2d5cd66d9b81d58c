"""Which names of this host a client may use, so that pages of other sites read nothing local."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

REFUSAL: Final = (
    "403: this address is only for names of this host, such as localhost; "
    "name others with --web.external-url\n"
)


class Hosts:
    """
    Checks the Host of requests that come over the loopback interface.

    A page of another site can have its own name resolve to 127.0.0.1 (DNS rebinding), and its
    script would then read what it likes; but the Host of its requests is that name.

    names: further hosts that are allowed: names, addresses, or whole URLs.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {_host_of(name) for name in names} - {""}

    def refuse(self, request: web.BaseRequest) -> web.Response | None:
        """Return the response that refuses the request, or None if it is allowed."""
        # A client that gives none is no browser.
        hosts = request.headers.getall("Host", [])
        if not request.raw_path.startswith("/"):  # a whole URL, as proxies get it
            hosts = [*hosts, request.raw_path]
        if all(map(self.allows, hosts)):
            return None
        return web.Response(status=403, text=REFUSAL)

    def allows(self, host: str) -> bool:
        """Return whether a host, with or without a port, or that of a URL is of this machine."""
        name = _host_of(host)
        if name in self._names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _host_of(text: str) -> str:
    """Return the host in a URL, or in a host with or without a port; "" if there is none."""
    try:
        url = urlsplit(text if "://" in text else f"//{text}")
        return "" if url.username is not None else (url.hostname or "").removesuffix(".").lower()
    except ValueError:
        return ""
