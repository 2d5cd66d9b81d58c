"""The TLS section of the web config file, and the names of clients."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from poolscope.exporter.web_config import TLS12_SUITES, ClientPolicy, load
from support.certificates import Certificate, certificate, needs_openssl, openssl
from support.web_configs import refusal, written

TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
VERIFY = f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"
NOT_ITS_KEY = "is not the key of the certificate in {server.crt}"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with valid and invalid certificates and keys."""
    folder = tmp_path_factory.mktemp("certificates")
    server = certificate(folder, "server")
    certificate(folder, "ca")
    certificate(folder, "other")
    openssl("ec", "-in", str(server.key), "-aes128", "-passout", "pass:x", *out(folder / "locked"))
    openssl("genrsa", *out(folder / "rsa.key"), "2048")
    weak = Certificate(folder / "weak.crt", folder / "weak.key")
    openssl(
        *("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak"),
        *("-keyout", str(weak.key), *out(weak.cert)),
    )
    (folder / "rubbish").write_text("-----BEGIN RUBBISH-----\n")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    return folder


def out(path: Path) -> tuple[str, str]:
    return "-out", str(path)


@needs_openssl
class TestTls:
    def test_paths_are_relative_to_the_file(
        self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        path = written(made, TLS)
        config = load(path)
        assert (path, made / "server.crt", made / "server.key") == config.files
        assert ClientPolicy() == config.client_policy
        context = config.context
        assert context is not None
        assert (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3, ssl.CERT_NONE) == (
            context.minimum_version,
            context.maximum_version,
            context.verify_mode,
        )

    def test_client_certificates(self, made: Path) -> None:
        path = written(made, f"{VERIFY}  client_allowed_sans: [prometheus, 10.0.0.1]\n")
        config = load(path)
        authorities = (made / "ca.crt").read_bytes()
        sans = frozenset({"prometheus", "10.0.0.1"})
        assert ClientPolicy(ssl.CERT_REQUIRED, authorities, sans) == config.client_policy
        assert made / "ca.crt" in config.files
        path = written(
            made, VERIFY.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
        )
        context = load(path).context
        assert context is not None
        assert ssl.CERT_OPTIONAL == context.verify_mode

    def test_cipher_suites_in_order(self, made: Path) -> None:
        names = list(TLS12_SUITES)[::-1]
        path = written(made, f"{TLS}  max_version: TLS12\n  cipher_suites: [{', '.join(names)}]\n")
        context = load(path).context
        assert context is not None
        offered = [suite["name"] for suite in context.get_ciphers()]
        assert list(dict.fromkeys(TLS12_SUITES[name] for name in names)) == [
            name for name in offered if not name.startswith("TLS_")
        ]

    @pytest.mark.parametrize(
        "line",
        [
            "min_version: TLS10",
            "max_version: TLS12",
            "prefer_server_cipher_suites: false",
            "curve_preferences: [X25519]",
            "curve_preferences: [CurveP256]",
            "curve_preferences: []",
            "cipher_suites: [TLS_AES_128_GCM_SHA256]\n  min_version: TLS13",
            "client_auth_type: NoClientCert",
            "client_ca_file:",
        ],
    )
    def test_other_valid_settings(self, made: Path, line: str) -> None:
        assert load(written(made, f"{TLS}  {line}\n")).context is not None

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (
                "min_version: TLS14",
                "min_version: 'TLS14' is not one of TLS10, TLS11, TLS12, TLS13",
            ),
            (
                "min_version: TLS13\n  max_version: TLS12",
                "min_version: must not be above max_version",
            ),
            (
                "client_auth_type: Always",
                (
                    "client_auth_type: 'Always' is not one of NoClientCert, "
                    "VerifyClientCertIfGiven, RequireAndVerifyClientCert"
                ),
            ),
            (
                "client_auth_type: RequireAnyClientCert",
                (
                    "client_auth_type: RequireAnyClientCert does not verify certificates and "
                    "is not supported; use RequireAndVerifyClientCert"
                ),
            ),
            (
                "client_auth_type: RequestClientCert",
                (
                    "client_auth_type: RequestClientCert does not verify certificates and is "
                    "not supported; use VerifyClientCertIfGiven"
                ),
            ),
            (
                "client_auth_type: RequireAndVerifyClientCert",
                "client_ca_file: is missing; name a file in PEM format",
            ),
            (
                "client_ca_file: ca.crt",
                (
                    "client_ca_file: needs client_auth_type: RequireAndVerifyClientCert or "
                    "VerifyClientCertIfGiven"
                ),
            ),
            (
                "client_allowed_sans: [a]",
                "client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert",
            ),
            ("cipher_suites: RC4", "cipher_suites: must be a list of strings"),
            (
                "cipher_suites: [TLS_AES_128_GCM_SHA256]",
                (
                    "cipher_suites: has only suites of TLS 1.3; add suites of TLS 1.2, or set "
                    "min_version: TLS13"
                ),
            ),
            (
                "curve_preferences: [X25519, CurveP256]",
                "curve_preferences: only one curve is supported; name one, or remove the key",
            ),
            (
                "curve_preferences: [secp256k1]",
                (
                    "curve_preferences: 'secp256k1' is not one of CurveP256, CurveP384, CurveP521, "
                    "X25519"
                ),
            ),
        ],
    )
    def test_invalid_settings(self, made: Path, line: str, message: str) -> None:
        path = written(made, f"{TLS}  {line}\n")
        assert f"{path}: tls_server_config.{message}" == refusal(path)

    def test_a_suite_name_that_go_does_not_know(self, made: Path) -> None:
        path = written(made, f"{TLS}  cipher_suites: [AES128-SHA]\n")
        start = f"{path}: tls_server_config.cipher_suites: 'AES128-SHA' is not one of TLS_ECDHE_"
        assert refusal(path).startswith(start)

    def test_an_empty_list_of_names(self, made: Path) -> None:
        path = written(made, f"{VERIFY}  client_allowed_sans: []\n")
        message = "tls_server_config.client_allowed_sans: must have at least one name"
        assert f"{path}: {message}" == refusal(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("server.crt none", "cert_file: {none}: cannot be read: No such file or directory"),
            ("server.key none", "key_file: {none}: cannot be read: No such file or directory"),
            ("ca.crt none", "client_ca_file: {none}: cannot be read: No such file or directory"),
            ("server.key folder", "key_file: {folder}: must be a regular file"),
            ("server.key fifo", "key_file: {fifo}: must be a regular file"),
            ('server.crt "\\0"', "cert_file: {\\x00}: cannot be read: not a valid path"),
            ("server.crt rubbish", "cert_file: {rubbish}: has no certificate in PEM format"),
            ("server.key rubbish", "key_file: {rubbish}: has no private key in PEM format"),
            ("ca.crt rubbish", "client_ca_file: {rubbish}: has no certificates in PEM format"),
            ("server.key other.key", f"key_file: {{other.key}}: {NOT_ITS_KEY}"),
            ("server.key rsa.key", f"key_file: {{rsa.key}}: {NOT_ITS_KEY}"),
            (
                "server.key locked",
                "key_file: {locked}: is encrypted; remove its password",
            ),
            (
                "server.crt weak.crt",
                "cert_file: {weak.crt}: OpenSSL rejects it: ee key too small",
            ),
        ],
    )
    def test_invalid_files(self, made: Path, change: str, message: str) -> None:
        name, other = change.split()
        path = written(made, VERIFY.replace(name, other))
        expected = message.replace("{", f"{made}/").replace("}", "")
        actual = refusal(path)
        if "too small" in message and "weak.crt: OpenSSL" not in actual:
            pytest.skip("this OpenSSL accepts it")
        assert f"{path}: tls_server_config.{expected}" == actual


class TestNamesOfClients:
    @pytest.mark.parametrize(
        ("name", "allowed"),
        [
            (("DNS", "prometheus"), True),
            (("DNS", "prometheus.example"), False),
            (("email", "ops@example.org"), True),
            (("URI", "spiffe://a/b"), True),
            (("IP Address", "10.0.0.1"), True),
            (("IP Address", "FD00:0:0:0:0:0:0:1"), True),
            (("IP Address", "10.0.0.2"), False),
            (("IP Address", "<invalid>"), False),
        ],
    )
    def test_one_allowed_name_is_enough(self, name: tuple[str, str], allowed: bool) -> None:
        sans = {"prometheus", "ops@example.org", "spiffe://a/b", "10.0.0.1", "fd00::1"}
        policy = ClientPolicy(ssl.CERT_REQUIRED, b"", frozenset(sans))
        assert allowed == policy.allows({"subjectAltName": (("DNS", "other"), name)})
        assert not policy.allows({})
        assert not policy.allows(None)
        assert ClientPolicy().allows(None)
