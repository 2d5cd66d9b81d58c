"""The web config file: what it may contain, and the one-line error for anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolscope.exporter.web_config import WebConfig, load
from support.web_configs import refusal, written

# The hash of "secret". It is constant, because names of tests contain it.
HASH = "$2b$04$.ckawkGoHtREY1ltySxYdOSalBQRhwFVc99r976QvIEglO1uqG5Di"


class TestWithoutTls:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "# nothing\n",
            "{}",
            "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
            "tls_server_config: {}\nbasic_auth_users: {}\n",
            "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: ''\n",
            "tls_server_config:\n  min_version:\n",
        ],
    )
    def test_an_empty_file_requires_nothing(self, tmp_path: Path, text: str) -> None:
        path = written(tmp_path, text)
        config = load(path)
        assert WebConfig((path,)) == config
        assert (None, (path,)) == (config.context, config.files)

    def test_users(self, tmp_path: Path) -> None:
        text = f"basic_auth_users:\n  ann: {HASH}\n  123: {HASH}\n  Änne Ö: '{HASH}'\n"
        path = written(tmp_path, text)
        users = dict.fromkeys(("ann", "123", "Änne Ö"), HASH)
        config = load(path)
        assert WebConfig((path,), users=users) == config
        assert HASH not in repr(config)

    def test_headers(self, tmp_path: Path) -> None:
        headers = {
            "Content-Security-Policy": "default-src 'self'",
            "Strict-Transport-Security": "max-age=31536000",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "deny",
            "X-XSS-Protection": "0",
        }
        lines = "".join(f'    {name}: "{value}"\n' for name, value in headers.items())
        path = written(tmp_path, f"http_server_config:\n  headers:\n{lines}")
        assert WebConfig((path,), headers=headers) == load(path)


TLS_KEYS = (
    "cert_file, key_file, client_auth_type, client_ca_file, client_allowed_sans, min_version, "
    "max_version, cipher_suites, prefer_server_cipher_suites, curve_preferences"
)
NOT_BCRYPT = 'must be a bcrypt hash, such as `htpasswd -nBC 10 ""` makes'
TOO_COSTLY = "must have a cost of at most 14, as each check of a password costs that"


class TestMalformedFile:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("- a", ": must be a mapping of keys to values"),
            ("tls", ": must be a mapping of keys to values"),
            ("tls_server_config: 1", ": tls_server_config: must be a mapping of keys to values"),
            ("yes: 1", ": keys must be strings; put quotes around them"),
            (
                "tls_config: {}",
                (
                    ": tls_config: unknown key; use one of tls_server_config, http_server_config, "
                    "basic_auth_users"
                ),
            ),
            ("rate_limit: {}", ": rate_limit: is not supported; remove it"),
            (
                "http_server_config: {http3: true}",
                ": http_server_config.http3: unknown key; use one of http2, headers",
            ),
            (
                "http_server_config: {http2: 'no'}",
                ": http_server_config.http2: must be true or false",
            ),
            (
                "http_server_config: {headers: {Server: x}}",
                (
                    ": http_server_config.headers.Server: unknown key; use one of "
                    "Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, "
                    "X-Frame-Options, X-XSS-Protection"
                ),
            ),
            (
                "http_server_config: {headers: {X-Frame-Options: allow}}",
                (
                    ": http_server_config.headers.X-Frame-Options: 'allow' is not one of deny, "
                    "sameorigin"
                ),
            ),
            (
                'http_server_config: {headers: {X-XSS-Protection: "0\\r\\nSet-Cookie: x"}}',
                ": http_server_config.headers.X-XSS-Protection: must be one line of ASCII",
            ),
            (
                "http_server_config: {headers: {X-XSS-Protection: true}}",
                (
                    ": http_server_config.headers.X-XSS-Protection: must be a string; put quotes "
                    "around it"
                ),
            ),
            ("basic_auth_users: [ann]", ": basic_auth_users: must be a mapping of keys to values"),
            ("basic_auth_users: {ann: hunter2}", f": basic_auth_users.ann: {NOT_BCRYPT}"),
            ("basic_auth_users: {ann: }", f": basic_auth_users.ann: {NOT_BCRYPT}"),
            *(
                (
                    f"basic_auth_users: {{ann: $2b${cost}{HASH[6:]}}}",
                    f": basic_auth_users.ann: {why}",
                )
                for cost, why in [
                    *((cost, TOO_COSTLY) for cost in (15, 19, 31)),
                    *((cost, NOT_BCRYPT) for cost in (32, 99, "0", "03", "\u0660\u0665", "-5")),
                ]
            ),
            (
                # No salt is of these characters, although each of them is allowed.
                f"basic_auth_users: {{ann: $2b$05${'9' * 53}}}",
                f": basic_auth_users.ann: {NOT_BCRYPT}",
            ),
            (f"basic_auth_users: {{ann: ':{HASH}'}}", f": basic_auth_users.ann: {NOT_BCRYPT}"),
            (f"basic_auth_users: {{'{HASH}': ann}}", f": basic_auth_users.(a key): {NOT_BCRYPT}"),
            (
                f"basic_auth_users: {{'a:b': '{HASH}'}}",
                ": basic_auth_users.(a key): the name of a user must not have a colon",
            ),
            (
                f"basic_auth_users: {{no: '{HASH}'}}",
                ": basic_auth_users: keys must be strings; put quotes around them",
            ),
            (
                f"basic_auth_users:\n  ann: '{HASH}'\n  ann: '{HASH}'\n",
                ": line 3: ann: appears twice; remove one of them",
            ),
            ("basic_auth_users: {ann: *hunter2}", " is not valid YAML in line 1, column 25"),
            ("basic_auth_users: {ann: !hunter2 x}", " is not valid YAML in line 1, column 25"),
            ("a: [", " is not valid YAML in line 1, column 5"),
            ("{}\n---\n{}", " is not valid YAML in line 2, column 1"),
            ("[" * 2000, " is not valid YAML"),
            ("a: !!bool hunter2", " is not valid YAML"),
            ("? [a]\n: b", " is not valid YAML in line 1, column 3"),
            (b"a: \xff", " is not UTF-8 text that YAML allows"),
            (b"a: \x00", " is not UTF-8 text that YAML allows"),
            (
                "tls_server_config: {certfile: x}",
                f": tls_server_config.certfile: unknown key; use one of {TLS_KEYS}",
            ),
            (
                "tls_server_config: {min_version: TLS12}",
                ": tls_server_config.cert_file: is missing; name a file in PEM format",
            ),
            (
                "tls_server_config: {cert_file: true}",
                ": tls_server_config.cert_file: must be a string; put quotes around it",
            ),
            (
                "tls_server_config: {key: x}",
                ": tls_server_config.key: must be in a file; name it with key_file",
            ),
        ],
    )
    def test_the_error_is_one_line(self, tmp_path: Path, text: str | bytes, message: str) -> None:
        path = written(tmp_path, text)
        separator = "" if message.startswith(":") else ":"
        assert f"{path}{separator}{message}" == refusal(path)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        path = tmp_path / "none.yml"
        assert f"{path}: cannot be read: No such file or directory" == refusal(path)
        assert f"{tmp_path}: must be a regular file" == refusal(tmp_path)
