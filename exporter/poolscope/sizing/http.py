"""Asks a server by HTTP, with a name and password from the address or from netrc."""

from __future__ import annotations

import base64
import http
import http.client
import netrc
import os
import ssl
import time
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

TIMEOUT: Final = 30.0
"""Seconds for each request."""


MAX_BYTES: Final = 1 << 28
"""Of an answer."""

CHUNK: Final = 1 << 16
"""Bytes that are read at a time."""


OTHER_SCHEME: Final = {
    "http": "use https:// instead of http://",
    "https": "use http:// instead of https://",
}
"""What would be right, by the scheme that was not."""

NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""Errors of OpenSSL, of different versions, where what answers is not TLS."""

UNKNOWN_SIGNERS: Final = (2, 18, 19, 20, 21)
"""
Errors of OpenSSL for certificates that nobody has signed who is trusted: X509_V_ERR_...
UNABLE_TO_GET_ISSUER_CERT, DEPTH_ZERO_SELF_SIGNED_CERT, SELF_SIGNED_CERT_IN_CHAIN,
UNABLE_TO_GET_ISSUER_CERT_LOCALLY and UNABLE_TO_VERIFY_LEAF_SIGNATURE.
"""


class SourceError(Exception):
    """The numbers could not be had. The message is one line that names the address and why."""

    def __init__(self, message: str, body: bytes = b"") -> None:
        """`body` is that of an answer which says that something is wrong."""
        super().__init__("".join(each if each.isprintable() else " " for each in message))
        self.body = body


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web servers; only the server that was named gets the password."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            check(newurl)
        except ValueError as error:
            raise SourceError(f"{_named(req.full_url)} redirects: {error}") from None
        return super().redirect_request(req, fp, code, "a redirect", headers, newurl)


def get(url: str, accept: str = "*/*", timeout: float = TIMEOUT) -> bytes:
    """
    Return the body of the answer. Raises SourceError.

    timeout: seconds until the server must have sent something, and all of it.
    """
    address, credentials = without_credentials(url)
    request = urllib.request.Request(address, headers={"Accept": accept})  # noqa: S310 - checked by `check`
    credentials = credentials or _of_netrc(urlsplit(address).hostname)
    if credentials is not None:
        encoded = base64.b64encode(":".join(credentials).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    shown = _named(address)
    try:
        with urllib.request.build_opener(_Redirects).open(request, timeout=timeout) as answer:
            return _body(answer, time.monotonic() + timeout)
    except urllib.error.HTTPError as error:
        with error:
            said, body = f"{shown} answered {error.code} {error.reason}", _error_body(error)
        if error.code == http.HTTPStatus.BAD_REQUEST and b" HTTPS " in body:  # of Go and nginx
            said += f"; {OTHER_SCHEME['http']}"
        raise SourceError(said, body) from None
    except http.client.IncompleteRead:
        raise SourceError(f"{shown} sent only a part of its answer") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SourceError(f"cannot reach {shown}: {_why(error, urlsplit(shown).scheme)}") from None


def _why(error: Exception, scheme: str) -> str:
    """Return why a server cannot be reached, and what would be right where that is known."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return _why_not_trusted(reason)
    if isinstance(reason, ssl.SSLError) and reason.reason in NO_TLS:
        return f"it does not speak TLS; {OTHER_SCHEME['https']}"
    if isinstance(reason, http.client.RemoteDisconnected):
        hint = f"; if it speaks TLS, {OTHER_SCHEME['http']}" if scheme == "http" else ""
        return f"it closes the connection without an answer{hint}"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _why_not_trusted(error: ssl.SSLCertVerificationError) -> str:
    message = error.verify_message.rstrip(".")
    if error.verify_code not in UNKNOWN_SIGNERS:
        return f"its certificate is not valid ({message})"
    variable = ssl.get_default_verify_paths().openssl_cafile_env
    file = os.environ.get(variable)
    cure = f"set {variable} to the file of the certificate that has signed it"
    if file and not os.path.exists(file):  # noqa: PTH110 - OpenSSL takes any text
        cure = f"{variable} names {file}, which does not exist"
    return f"its certificate is not trusted ({message}); {cure}"


def _body(answer: Any, deadline: float) -> bytes:
    """Return the body; raise OSError if it does not end in time, or is too long."""
    parts, length = [], 0
    while part := answer.read1(CHUNK):
        parts.append(part)
        length += len(part)
        if length > MAX_BYTES:
            raise OSError(f"its answer is longer than {MAX_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise OSError("its answer does not end")
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(parts)


def _error_body(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(CHUNK)
    except (OSError, http.client.HTTPException):
        return b""


def _named(address: str) -> str:
    """Return an address without what is asked."""
    return without_credentials(address)[0].partition("?")[0]


def check(url: str) -> str:
    """Return the address; raise ValueError, whose message says what is wrong with it."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0 and url.isprintable()
    except ValueError:
        port_is_valid = False
    if not port_is_valid or not _is_plain(parts) or parts.scheme not in ("http", "https"):
        raise ValueError(f"{_shown(url)!r} is not an address such as http://127.0.0.1:9090")
    return url


def _is_plain(parts: SplitResult) -> bool:
    """Whether an address has a host, and only characters that may be sent; see RFC 3986."""
    sent = f"{parts.netloc.rpartition('@')[2]}{parts.path}{parts.query}{parts.fragment}"
    labels = (parts.hostname or "").removesuffix(".").split(".")
    return (
        sent.isascii()
        and not any(each.isspace() or not each.isprintable() for each in sent)
        and all(0 < len(label) < 64 for label in labels)
    )


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
