"""Reads the file of `--web.config.file`, in the format of the Prometheus exporter toolkit."""

from __future__ import annotations

import ipaddress
import ssl
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from poolscope.exporter.hashes import why_refused
from poolscope.exporter.strict_yaml import StrictYamlError, parse, printable_key
from poolscope.label_values import printable

T = TypeVar("T")

SECTIONS: Final = ("tls_server_config", "http_server_config", "basic_auth_users")
TLS_KEYS: Final = (
    "cert_file", "key_file", "client_auth_type", "client_ca_file", "client_allowed_sans",
    "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites",
    "curve_preferences",
)  # fmt: skip
ALLOWED_HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that the toolkit allows, with the allowed values where these are limited."""

REFUSED_KEYS: Final = {
    "rate_limit": "is not supported; remove it",
    "tls_server_config.cert": "must be in a file; name it with cert_file",
    "tls_server_config.key": "must be in a file; name it with key_file",
    "tls_server_config.client_ca": "must be in a file; name it with client_ca_file",
}
CLIENT_AUTH: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
VERIFYING_ALTERNATIVES: Final = {
    "RequestClientCert": "VerifyClientCertIfGiven",
    "RequireAnyClientCert": "RequireAndVerifyClientCert",
    "RequireClientCert": "RequireAndVerifyClientCert",
}
"""For each mode that does not verify certificates, the mode to use instead."""

TLS_VERSIONS: Final = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
CURVES: Final = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
TLS13_SUITES: Final = (
    "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
)  # fmt: skip
"""These are always on: neither Python nor Go can choose among them."""

TLS12_SUITES: Final = {
    f"TLS_ECDHE_{key}_WITH_{name}": f"ECDHE-{key}-{openssl}"
    for key in ("ECDSA", "RSA")
    for name, openssl in {
        "AES_128_CBC_SHA": "AES128-SHA",
        "AES_256_CBC_SHA": "AES256-SHA",
        "AES_128_GCM_SHA256": "AES128-GCM-SHA256",
        "AES_256_GCM_SHA384": "AES256-GCM-SHA384",
        "CHACHA20_POLY1305": "CHACHA20-POLY1305",
        "CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305",
    }.items()
}
LEGACY_SUITES: Final = "ECDHE+AES:ECDHE+CHACHA20:!aNULL"


class WebConfigError(Exception):
    """The file cannot be used. The message is one line, and has no secret in it."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))  # paths may have anything in them


@dataclass(frozen=True, slots=True)
class ClientPolicy:
    """Which clients may connect; `authorities` is the content of client_ca_file."""

    verify_mode: ssl.VerifyMode = ssl.CERT_NONE
    authorities: bytes = b""
    allowed_sans: frozenset[str] = frozenset()

    def allows(self, peercert: Mapping[str, Any] | None) -> bool:
        """Return whether a verified certificate, as `ssl` describes it, has an allowed name."""
        names = (peercert or {}).get("subjectAltName", ())
        return not self.allowed_sans or any(
            _normalized_san(*name) in self.allowed_sans for name in names
        )


@dataclass(frozen=True, slots=True)
class WebConfig:
    """
    The content of a file that was checked.

    files: the file itself, and all files that it names.
    client_policy, context: None for plain HTTP.
    users: a bcrypt hash by name.
    """

    files: tuple[Path, ...] = ()
    client_policy: ClientPolicy | None = None
    context: ssl.SSLContext | None = field(default=None, compare=False, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)


def load(path: Path, again: bool = False) -> WebConfig:
    """
    Read the file and all files that it names; raises WebConfigError.

    again: whether this replaces a configuration. Then a file or a section without content is an
        error: it is likely to be half-written, and would take TLS or the passwords away.
    """
    try:
        document = parse(_read_file(path, f"{path}"))
    except StrictYamlError as error:
        raise WebConfigError(f"{path}: {error}") from None
    top = _Section(path, "", document, SECTIONS)
    if again:
        _require_content(top, document)
    tls = _Section(path, "tls_server_config", top.values.get("tls_server_config"), TLS_KEYS)
    policy, context, files = _load_tls(tls) if tls.values else (None, None, ())
    http = top.values.get("http_server_config")
    headers = _parse_headers(_Section(path, "http_server_config", http, ("http2", "headers")))
    users = _parse_users(_Section(path, "basic_auth_users", top.values.get("basic_auth_users")))
    return WebConfig((path, *files), policy, context, headers, users)


def _require_content(top: _Section, document: object) -> None:
    if document is None:
        raise WebConfigError(f"{top.path}: is empty; write {{}} to have no TLS and no passwords")
    for key, value in top.given.items():
        if value is None:
            raise top.error(key, "is empty; remove the key, or write {} behind it")


class _Section:
    """One mapping of the file: `given` has all its keys, `values` those that are not null."""

    def __init__(
        self, path: Path, name: str, values: object, known: Collection[str] | None = None
    ) -> None:
        self.path, self.name = path, name
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise WebConfigError(f"{self.location()}: must be a mapping of keys to values")
        for key in values:
            if not isinstance(key, str):
                raise WebConfigError(
                    f"{self.location()}: keys must be strings; put quotes around them"
                )
            if (refusal := REFUSED_KEYS.get(f"{name}.{key}" if name else key)) is not None:
                raise self.error(key, refusal)
            if known is not None and key not in known:
                raise self.error(key, f"unknown key; use one of {', '.join(known)}")
        self.given = values
        self.values = {key: value for key, value in values.items() if value is not None}

    def location(self, key: str = "") -> str:
        where = ".".join(part for part in (self.name, printable_key(key)) if part)
        return f"{self.path}: {where}" if where else str(self.path)

    def error(self, key: str, what: str) -> WebConfigError:
        return WebConfigError(f"{self.location(key)}: {what}")

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            quotes = "; put quotes around it" if isinstance(value, bool) else ""
            raise self.error(key, f"must be a string{quotes}")
        return value

    def texts(self, key: str) -> list[str]:
        values = self.values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self.error(key, "must be a list of strings")
        return values

    def flag(self, key: str) -> bool:
        value = self.values.get(key, True)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def choice(self, key: str, choices: Mapping[str, T], default: str) -> T:
        return self.lookup(key, choices, self.text(key) or default)

    def lookup(self, key: str, choices: Mapping[str, T], value: str) -> T:
        if value not in choices:
            raise self.error(key, f"{value!r} is not one of {', '.join(choices)}")
        return choices[value]

    def file(self, key: str) -> tuple[Path, bytes]:
        """Return the path and the content of a file that the section names."""
        name = self.text(key)
        if not name:
            raise self.error(key, "is missing; name a file in PEM format")
        path = self.path.parent / name
        return path, _read_file(path, f"{self.location(key)}: {path}")


def _load_tls(section: _Section) -> tuple[ClientPolicy, ssl.SSLContext, tuple[Path, ...]]:
    (cert, _), (key, _) = section.file("cert_file"), section.file("key_file")
    authority, policy = _load_client_policy(section)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_versions(context, section)
    _set_suites(context, section)
    _set_curve(context, section)
    _load_chain(context, section, cert, key)
    if authority is not None:
        # As in Go, every certificate in the file is trusted, also an intermediate one.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = policy.verify_mode
        try:
            context.load_verify_locations(authority)
        except (OSError, ValueError) as error:
            what = f"{authority}: has no certificates in PEM format"
            raise section.error("client_ca_file", what) from error
    return policy, context, (cert, key, *([] if authority is None else [authority]))


def _load_client_policy(section: _Section) -> tuple[Path | None, ClientPolicy]:
    kind = section.text("client_auth_type") or "NoClientCert"
    if kind in VERIFYING_ALTERNATIVES:
        use = VERIFYING_ALTERNATIVES[kind]
        what = f"{kind} does not verify certificates and is not supported; use {use}"
        raise section.error("client_auth_type", what)
    auth = section.lookup("client_auth_type", CLIENT_AUTH, kind)
    sans = section.texts("client_allowed_sans")
    if "client_allowed_sans" in section.values:
        if auth != ssl.CERT_REQUIRED:
            needs = "needs client_auth_type: RequireAndVerifyClientCert"
            raise section.error("client_allowed_sans", needs)
        if not sans:
            raise section.error("client_allowed_sans", "must have at least one name")
    if auth == ssl.CERT_NONE:
        if "client_ca_file" in section.values:
            needs = "needs client_auth_type: RequireAndVerifyClientCert or VerifyClientCertIfGiven"
            raise section.error("client_ca_file", needs)
        return None, ClientPolicy()
    path, authorities = section.file("client_ca_file")
    return path, ClientPolicy(auth, authorities, frozenset(sans))


def _set_versions(context: ssl.SSLContext, section: _Section) -> None:
    lowest = section.choice("min_version", TLS_VERSIONS, "TLS12")
    highest = section.choice("max_version", TLS_VERSIONS, "TLS13")
    if lowest > highest:
        raise section.error("min_version", "must not be above max_version")
    with warnings.catch_warnings():
        # Python deprecates TLS 1.0 and 1.1; a file that names them asks for them.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = lowest, highest


def _set_suites(context: ssl.SSLContext, section: _Section) -> None:
    every = {**TLS12_SUITES, **dict.fromkeys(TLS13_SUITES, "")}
    names = section.texts("cipher_suites")
    suites = ":".join(filter(None, (section.lookup("cipher_suites", every, n) for n in names)))
    if names and not suites and context.minimum_version != ssl.TLSVersion.TLSv1_3:
        what = "has only suites of TLS 1.3; add suites of TLS 1.2, or set min_version: TLS13"
        raise section.error("cipher_suites", what)
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        # Above this security level OpenSSL does not speak TLS 1.0 and 1.1.
        context.set_ciphers(f"{suites or LEGACY_SUITES}:@SECLEVEL=0")
    elif suites:
        context.set_ciphers(suites)
    if not section.flag("prefer_server_cipher_suites"):
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _set_curve(context: ssl.SSLContext, section: _Section) -> None:
    key = "curve_preferences"
    curves = [section.lookup(key, CURVES, name) for name in section.texts(key)]
    if len(curves) > 1:
        raise section.error(key, "only one curve is supported; name one, or remove the key")
    for curve in curves:
        context.set_ecdh_curve(curve)


class _EncryptedKeyError(Exception):
    pass


def _refuse_password() -> str:
    raise _EncryptedKeyError


def _load_chain(context: ssl.SSLContext, section: _Section, cert: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cert)
    except (OSError, ValueError) as error:
        what = f"{cert}: has no certificate in PEM format"
        raise section.error("cert_file", what) from error
    try:
        context.load_cert_chain(cert, key, _refuse_password)
    except _EncryptedKeyError:
        what = f"{key}: is encrypted; remove its password"
        raise section.error("key_file", what) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or ""
        if reason.endswith(("_MISMATCH", "NO_CERTIFICATE_ASSIGNED")):
            what = f"{key}: is not the key of the certificate in {cert}"
        elif "TOO_" in reason:
            what = f"{cert}: OpenSSL rejects it: {reason.replace('_', ' ').lower()}"
            raise section.error("cert_file", what) from error
        else:
            what = f"{key}: has no private key in PEM format"
        raise section.error("key_file", what) from error


def _parse_headers(section: _Section) -> dict[str, str]:
    section.flag("http2")  # checked and ignored: only HTTP/1.1 is served
    given = _Section(
        section.path, f"{section.name}.headers", section.values.get("headers"), ALLOWED_HEADERS
    )
    headers = {name: given.text(name) or "" for name in given.values}
    for name, value in headers.items():
        if value and ALLOWED_HEADERS[name]:
            given.lookup(name, dict.fromkeys(ALLOWED_HEADERS[name]), value)
        if not value.isprintable() or not value.isascii():
            raise given.error(name, "must be one line of ASCII")
    return {name: value for name, value in headers.items() if value}


def _parse_users(section: _Section) -> dict[str, str]:
    # A user without a hash is an error: without users, every request would be allowed.
    for user, hashed in section.given.items():
        if ":" in user:
            raise section.error(user, "the name of a user must not have a colon")
        if not user.isprintable():  # nor can all of these be encoded
            raise section.error(user, "the name of a user must be printable")
        if refusal := why_refused(hashed):
            raise section.error(user, refusal)
    return section.given


def _read_file(path: Path, at: str) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise WebConfigError(f"{at}: must be a regular file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a valid path"
        raise WebConfigError(f"{at}: cannot be read: {why}") from error


def _normalized_san(kind: str, value: str) -> str:
    """Return a name as Go writes it."""
    if kind != "IP Address":
        return value
    try:
        return str(ipaddress.ip_address(value.strip()))
    except ValueError:
        return value
