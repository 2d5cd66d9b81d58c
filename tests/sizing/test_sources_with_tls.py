"""Servers whose TLS is not as the address says: one line that says what would be right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from poolscope.cli import main
from poolscope.sizing.http import SourceError, get
from support.certificates import Certificate, certificate, needs_openssl, openssl
from support.http_servers import http_servers

pytestmark = needs_openssl

Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Returns a function that starts a server, with a certificate or without, on its port."""
    with http_servers() as start_server:

        def start(shown: Certificate | None = None, code: int = 200, body: bytes = b"fine") -> int:
            def send(request: BaseHTTPRequestHandler) -> None:
                request.send_response(code)
                request.send_header("Content-Length", str(len(body)))
                request.end_headers()
                request.wfile.write(body)

            return start_server(send, shown)

        yield start


def said(url: str) -> str:
    with pytest.raises(SourceError) as raised:
        get(url)
    return str(raised.value)


def test_a_certificate_that_nobody_known_has_signed(serve: Serve, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{serve(certificate(tmp_path, 'own'))}"
    assert (
        f"cannot reach {url}: its certificate is not trusted (self-signed certificate);"
        " set SSL_CERT_FILE to the file of the certificate that has signed it"
    ) == said(url)


def test_a_certificate_that_an_unknown_authority_has_signed(serve: Serve, tmp_path: Path) -> None:
    authority = certificate(tmp_path, "authority")
    shown = certificate(tmp_path, "server", by=authority)
    text = said(f"https://127.0.0.1:{serve(shown)}")
    assert "is not trusted (unable to get local issuer certificate); set SSL_CERT_FILE to" in text


def test_a_certificate_whose_authority_is_trusted(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = certificate(tmp_path, "own")
    monkeypatch.setenv("SSL_CERT_FILE", str(shown.cert))
    assert b"fine" == get(f"https://127.0.0.1:{serve(shown)}")


def test_a_file_of_certificates_that_does_not_exist(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(tmp_path / "none.pem")
    monkeypatch.setenv("SSL_CERT_FILE", missing)
    text = said(f"https://127.0.0.1:{serve(certificate(tmp_path, 'own'))}")
    assert text.endswith(f"; SSL_CERT_FILE names {missing}, which does not exist")


@pytest.mark.parametrize(
    ("san", "host", "why"),
    [
        ("DNS:orders.example", "127.0.0.1", "not valid for '127.0.0.1'"),
        ("IP:127.0.0.1", "localhost", "not valid for 'localhost'"),
    ],
)
def test_a_certificate_for_another_host(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, san: str, host: str, why: str
) -> None:
    shown = certificate(tmp_path, "other", san)
    monkeypatch.setenv("SSL_CERT_FILE", str(shown.cert))
    text = said(f"https://{host}:{serve(shown)}")
    assert why in text
    assert "its certificate is not valid (" in text
    assert "SSL_CERT_FILE" not in text


def test_a_certificate_that_has_expired(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = certificate(tmp_path, "expired")
    old = Certificate(tmp_path / "old.crt", valid.key)
    request = tmp_path / "request"
    extensions = tmp_path / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1")
    openssl("req", "-new", "-key", str(valid.key), "-subj", "/CN=old", "-out", str(request))
    openssl(
        *("x509", "-req", "-in", str(request), "-key", str(valid.key), "-days", "-1"),
        *("-extfile", str(extensions), "-out", str(old.cert)),
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(old.cert))
    text = said(f"https://127.0.0.1:{serve(old)}")
    assert text.endswith(": its certificate is not valid (certificate has expired)")


def test_https_of_a_server_without_tls(serve: Serve) -> None:
    url = f"https://127.0.0.1:{serve()}"
    assert f"cannot reach {url}: it does not speak TLS; use http:// instead of https://" == said(
        url
    )


def test_http_of_a_server_with_tls(serve: Serve, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{serve(certificate(tmp_path, 'own'))}"
    assert (
        f"cannot reach {url}: it closes the connection without an answer;"
        " if it speaks TLS, use https:// instead of http://"
    ) == said(url)


@pytest.mark.parametrize(
    "body",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",  # Go, and so Prometheus
        b"<center>The plain HTTP request was sent to HTTPS port</center>",  # nginx
    ],
)
def test_a_server_that_says_that_it_wants_https(serve: Serve, body: bytes) -> None:
    url = f"http://127.0.0.1:{serve(code=400, body=body)}"
    text = said(url)
    assert text.endswith("answered 400 Bad Request; use https:// instead of http://")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("top", "--once", "--url"), 3),
        (("check", "--url"), 3),
        (("size", "--pool", "orders", "--prometheus"), 1),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_each_command_says_it_in_one_line(
    serve: Serve,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    code: int,
) -> None:
    url = f"https://127.0.0.1:{serve(certificate(tmp_path, 'own'))}"
    assert code == main([*command, url])
    out, line = capsys.readouterr()
    assert ("", 1) == (out, line.count("\n"))
    assert line.startswith(f"poolscope {command[0]}: cannot reach {url}/api/v1/")
    assert "its certificate is not trusted" in line
