"""Basic authentication: which passwords are accepted, also while somebody guesses."""

from __future__ import annotations

import asyncio
import base64
import threading
from typing import Any

import bcrypt
import pytest
from aiohttp.test_utils import make_mocked_request

from poolscope.exporter import auth
from poolscope.exporter.auth import BasicAuth
from support.waiting import PATIENCE, eventually


def hashed(password: str | bytes, cost: int = 4) -> str:
    data = password.encode() if isinstance(password, str) else password
    return bcrypt.hashpw(data[:72], bcrypt.gensalt(cost)).decode()


def basic(user: str, password: str | bytes) -> str:
    data = password.encode() if isinstance(password, str) else password
    return "Basic " + base64.b64encode(user.encode() + b":" + data).decode()


class Checks:
    """Replaces bcrypt.checkpw: counts the checks, and blocks them while `open` is not set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passwords: list[bytes] = []
        self.hashes: list[bytes] = []
        self.running = self.most_running = 0
        self.open = threading.Event()
        self.open.set()
        self._checkpw = bcrypt.checkpw
        monkeypatch.setattr(bcrypt, "checkpw", self.checkpw)

    def checkpw(self, password: bytes, against: bytes) -> bool:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.passwords.append(password)
        self.hashes.append(against)
        self.open.wait(PATIENCE)
        matches = self._checkpw(password, against)
        self.running -= 1
        return matches


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    return Checks(monkeypatch)


class TestHeaders:
    @pytest.mark.parametrize(
        "password",
        ["secret", "", "with: colons:", "pässwörd ✓", "x" * 72, "x" * 500, b"\xff\xfe", "nul\0nul"],
    )
    async def test_passwords_of_every_kind(self, password: str | bytes) -> None:
        basic_auth = BasicAuth({"ann": hashed(password)})
        assert await basic_auth.check_header(basic("ann", password))
        other = b"not " + (password.encode() if isinstance(password, str) else password)
        assert not await basic_auth.check_header(basic("ann", other))

    async def test_hashes_of_every_bcrypt_version(self) -> None:
        for version in ("$2a$", "$2b$", "$2y$"):
            basic_auth = BasicAuth({"ann": version + hashed("secret")[4:]})
            assert await basic_auth.check_header(basic("ann", "secret"))

    async def test_names_of_every_kind(self) -> None:
        basic_auth = BasicAuth({"Änne": hashed("secret"), "": hashed("nobody's")})
        assert await basic_auth.check_header(basic("Änne", "secret"))
        assert await basic_auth.check_header(basic("", "nobody's"))
        assert not await basic_auth.check_header(basic("änne", "secret"))

    async def test_the_scheme_is_case_insensitive(self) -> None:
        basic_auth = BasicAuth({"ann": hashed("secret")})
        assert await basic_auth.check_header(basic("ann", "secret").replace("Basic", "bAsIc"))

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Basic",
            "Basic ",
            "Basic !!!",
            "Basic YW5u",  # ann, without a colon
            "Basic YW5uOnNlY3JldA",  # ann:secret, without its padding
            "Basic YW5uOnNlY3JldA= =",
            "Basic \udcff\u2713",
            "Bearer YW5uOnNlY3JldA==",
            "YW5uOnNlY3JldA==",
        ],
    )
    async def test_a_malformed_header_is_rejected_without_a_check(
        self, checks: Checks, header: str
    ) -> None:
        assert not await BasicAuth({"ann": hashed("secret")}).check_header(header)
        assert [] == checks.passwords

    async def test_a_password_that_bcrypt_refuses_is_rejected(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(password: bytes, against: bytes) -> bool:
            raise ValueError("no")

        monkeypatch.setattr(bcrypt, "checkpw", refuse)
        assert not await BasicAuth({"ann": hashed("secret")}).check_header(basic("ann", "secret"))


class TestCache:
    async def test_accepted_and_rejected_passwords_are_cached(self, checks: Checks) -> None:
        basic_auth = BasicAuth({"ann": hashed("secret")})
        for _ in range(3):
            assert await basic_auth.check_header(basic("ann", "secret"))
            assert not await basic_auth.check_header(basic("ann", "guess"))
            assert not await basic_auth.check_header(basic("bob", "secret"))
        assert [b"secret", b"guess", b"secret"] == checks.passwords

    async def test_it_does_not_contain_passwords(self, checks: Checks) -> None:
        basic_auth = BasicAuth({"ann": hashed("secret")})
        await basic_auth.check_header(basic("ann", "secret"))
        await basic_auth.check_header(basic("ann", "a guess"))
        kept = repr([*vars(basic_auth).values()])
        assert ("ann" in kept, "secret" in kept, "a guess" in kept) == (True, False, False)

    async def test_a_changed_password_is_checked_again(self) -> None:
        basic_auth = BasicAuth({"ann": hashed("old")})
        assert await basic_auth.check_header(basic("ann", "old"))
        assert not await basic_auth.check_header(basic("ann", "new"))
        basic_auth.set_users({"ann": hashed("new")})
        assert not await basic_auth.check_header(basic("ann", "old"))
        assert await basic_auth.check_header(basic("ann", "new"))
        basic_auth.set_users({"bob": hashed("new")})
        assert not await basic_auth.check_header(basic("ann", "new"))

    async def test_guesses_do_not_push_out_accepted_passwords(
        self, checks: Checks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(auth, "MAX_CACHED_OUTCOMES", 2)
        basic_auth = BasicAuth({"ann": hashed("secret")})
        await basic_auth.check_header(basic("ann", "secret"))
        for guess in "abc":
            await basic_auth.check_header(basic("ann", guess))
        del checks.passwords[:]
        for guess in ("secret", "c", "b", "a"):
            await basic_auth.check_header(basic("ann", guess))
        assert [b"a"] == checks.passwords

    async def test_unknown_users_take_as_long_as_known_ones(self, checks: Checks) -> None:
        costly = bcrypt.hashpw(b"secret", bcrypt.gensalt(5)).decode()
        basic_auth = BasicAuth({"ann": costly})
        await basic_auth.check_header(basic("nobody", "secret"))
        (against,) = checks.hashes
        assert (costly[3:7], 60) == (against[3:7].decode(), len(against))
        # Even a password that matches the dummy hash is rejected.
        basic_auth._dummy_hash = hashed("found").encode()
        assert not await basic_auth.check_header(basic("nobody", "found"))


class TestConcurrentRequests:
    async def test_equal_requests_share_one_check(self, checks: Checks) -> None:
        basic_auth = BasicAuth({"ann": hashed("secret")})
        checks.open.clear()
        asking = [
            asyncio.create_task(basic_auth.check_header(basic("ann", "secret")))
            for _ in range(1000)
        ]
        await eventually(1, lambda: len(checks.passwords))
        asking[0].cancel()  # this must not cancel the check of the others
        checks.open.set()
        outcomes: list[Any] = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert [True] * 999 == outcomes[1:]
        assert [b"secret"] == checks.passwords


async def test_a_request_is_answered_with_503_when_it_is_turned_away() -> None:
    basic_auth = BasicAuth({"ann": hashed("secret")})
    basic_auth.close()
    request = make_mocked_request("GET", "/", headers={"Authorization": basic("ann", "secret")})
    refusal = await basic_auth.check_request(request)
    assert refusal is not None
    expected = 503, "503: too many passwords are being checked; try again\n", "1"
    assert expected == (refusal.status, refusal.text, refusal.headers["Retry-After"])


@pytest.mark.parametrize("user", ["cheap", "usual", "costly", "nobody"])
@pytest.mark.parametrize("right", [True, False])
async def test_each_check_is_as_much_work_as_the_costliest_hash(
    checks: Checks, user: str, right: bool
) -> None:
    costs = {"cheap": 4, "usual": 5, "costly": 7}
    basic_auth = BasicAuth({name: hashed("secret", cost) for name, cost in costs.items()})
    given = basic(user, "secret" if right else "guess")
    assert (right and user in costs) == await basic_auth.check_header(given)
    assert 2**7 == sum(2 ** int(against[4:6]) for against in checks.hashes)
