"""Certificates, made with the command `openssl`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_openssl = pytest.mark.usefixtures("openssl_program")


@dataclass(frozen=True)
class Certificate:
    """A certificate in PEM format, and its key."""

    cert: Path
    key: Path


def certificate(
    folder: Path, name: str, san: str = "IP:127.0.0.1", by: Certificate | None = None
) -> Certificate:
    """Make a certificate that `by` has signed; without `by` it is a self-signed CA."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    signed = ("-CA", str(by.cert), "-CAkey", str(by.key)) if by else ()
    authority, usage = ("FALSE", "") if by else ("TRUE", ",keyCertSign")
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={san}", *signed),
        *("-addext", f"basicConstraints=critical,CA:{authority}"),
        *("-addext", f"keyUsage=critical,digitalSignature{usage}"),
        *("-keyout", str(made.key), "-out", str(made.cert)),
    )
    return made


def openssl(*arguments: str) -> None:
    command = ("openssl", *arguments)
    subprocess.run(command, check=True, capture_output=True)
