"""Basic authentication: who may enter, and what guessing costs those who may."""

from __future__ import annotations

import asyncio
import base64
import threading
from typing import Any

import bcrypt
import pytest

from poolscope.exporter import auth
from poolscope.exporter.auth import BasicAuth, BusyError
from support.waiting import eventually


def hashed(password: str | bytes) -> str:
    data = password.encode() if isinstance(password, str) else password
    return bcrypt.hashpw(data[:72], bcrypt.gensalt(4)).decode()


def basic(user: str, password: str | bytes) -> str:
    data = password.encode() if isinstance(password, str) else password
    return "Basic " + base64.b64encode(user.encode() + b":" + data).decode()


class Checks:
    """Stands in the place of bcrypt; counts, and keeps those waiting that come while it is shut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passwords: list[bytes] = []
        self.hashes: list[bytes] = []
        self.at_once = self.most = 0
        self.open = threading.Event()
        self.open.set()
        self._checkpw = bcrypt.checkpw
        monkeypatch.setattr(bcrypt, "checkpw", self.checkpw)

    def checkpw(self, password: bytes, against: bytes) -> bool:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.passwords.append(password)
        self.hashes.append(against)
        self.open.wait(20)
        matches = self._checkpw(password, against)
        self.at_once -= 1
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
        door = BasicAuth({"ann": hashed(password)})
        assert await door.check_header(basic("ann", password))
        other = b"not " + (password.encode() if isinstance(password, str) else password)
        assert not await door.check_header(basic("ann", other))

    async def test_what_makes_hashes_does_not_matter(self) -> None:
        for version in ("$2a$", "$2b$", "$2y$"):
            door = BasicAuth({"ann": version + hashed("secret")[4:]})
            assert await door.check_header(basic("ann", "secret"))

    async def test_names_of_every_kind(self) -> None:
        door = BasicAuth({"Änne": hashed("secret"), "": hashed("nobody's")})
        assert await door.check_header(basic("Änne", "secret"))
        assert await door.check_header(basic("", "nobody's"))
        assert not await door.check_header(basic("änne", "secret"))

    async def test_the_scheme_is_in_any_case(self) -> None:
        door = BasicAuth({"ann": hashed("secret")})
        assert await door.check_header(basic("ann", "secret").replace("Basic", "bAsIc"))

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
    async def test_what_is_no_such_header_is_not_checked(self, checks: Checks, header: str) -> None:
        assert not await BasicAuth({"ann": hashed("secret")}).check_header(header)
        assert [] == checks.passwords

    async def test_what_bcrypt_does_not_take_is_wrong(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(password: bytes, against: bytes) -> bool:
            raise ValueError("no")

        monkeypatch.setattr(bcrypt, "checkpw", refuse)
        assert not await BasicAuth({"ann": hashed("secret")}).check_header(basic("ann", "secret"))


class TestWhatIsRemembered:
    async def test_outcomes_of_either_kind(self, checks: Checks) -> None:
        door = BasicAuth({"ann": hashed("secret")})
        for _ in range(3):
            assert await door.check_header(basic("ann", "secret"))
            assert not await door.check_header(basic("ann", "guess"))
            assert not await door.check_header(basic("bob", "secret"))
        assert [b"secret", b"guess", b"secret"] == checks.passwords

    async def test_no_password(self, checks: Checks) -> None:
        door = BasicAuth({"ann": hashed("secret")})
        await door.check_header(basic("ann", "secret"))
        await door.check_header(basic("ann", "a guess"))
        kept = repr([*vars(door).values()])
        assert ("ann" in kept, "secret" in kept, "a guess" in kept) == (True, False, False)

    async def test_not_for_another_password_of_the_user(self) -> None:
        door = BasicAuth({"ann": hashed("old")})
        assert await door.check_header(basic("ann", "old"))
        assert not await door.check_header(basic("ann", "new"))
        door.set_users({"ann": hashed("new")})
        assert not await door.check_header(basic("ann", "old"))
        assert await door.check_header(basic("ann", "new"))
        door.set_users({"bob": hashed("new")})
        assert not await door.check_header(basic("ann", "new"))

    async def test_guesses_do_not_push_out_what_is_right(
        self, checks: Checks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(auth, "MAX_CACHED_OUTCOMES", 2)
        door = BasicAuth({"ann": hashed("secret")})
        await door.check_header(basic("ann", "secret"))
        for guess in "abc":
            await door.check_header(basic("ann", guess))
        del checks.passwords[:]
        for guess in ("secret", "c", "b", "a"):
            await door.check_header(basic("ann", guess))
        assert [b"a"] == checks.passwords

    async def test_unknown_users_cost_what_known_ones_do(self, checks: Checks) -> None:
        costly = bcrypt.hashpw(b"secret", bcrypt.gensalt(5)).decode()
        door = BasicAuth({"ann": costly})
        await door.check_header(basic("nobody", "secret"))
        (against,) = checks.hashes
        assert (costly[3:7], 60) == (against[3:7].decode(), len(against))
        # Even who finds a password of that hash is nobody.
        door._dummy_hash = hashed("found").encode()
        assert not await door.check_header(basic("nobody", "found"))


class TestManyAtOnce:
    async def test_those_who_ask_the_same_share_one_check(self, checks: Checks) -> None:
        door = BasicAuth({"ann": hashed("secret")})
        checks.open.clear()
        asking = [
            asyncio.create_task(door.check_header(basic("ann", "secret"))) for _ in range(1000)
        ]
        await eventually(1, lambda: len(checks.passwords))
        asking[0].cancel()  # who gives up does not take it away from the others
        checks.open.set()
        outcomes: list[Any] = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert [True] * 999 == outcomes[1:]
        assert [b"secret"] == checks.passwords

    async def test_a_thousand_guesses(self, checks: Checks) -> None:
        door = BasicAuth({"ann": hashed("secret"), "bob": hashed("other")})
        assert await door.check_header(basic("ann", "secret"))
        checks.open.clear()
        guesses = [
            asyncio.create_task(door.check_header(basic("ann", f"{n}"))) for n in range(1000)
        ]
        await eventually(900, lambda: sum(guess.done() for guess in guesses))
        # No check ends now, and who is known does not wait for any.
        assert await door.check_header(basic("ann", "secret"))
        with pytest.raises(BusyError):
            await door.check_header(basic("bob", "other"))
        checks.open.set()
        outcomes = await asyncio.gather(*guesses, return_exceptions=True)
        assert 100 == outcomes.count(False)
        assert 900 == sum(isinstance(outcome, BusyError) for outcome in outcomes)
        assert 1 == checks.most
        assert await door.check_header(basic("bob", "other"))
