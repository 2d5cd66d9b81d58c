"""Basic authentication: passwords against bcrypt hashes, which are meant to take long."""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import bcrypt
from aiohttp import web

LONGEST_QUEUE: Final = 100
"""Checks that wait for their turn or are under way; whoever comes then is turned away."""

REMEMBERED: Final = 1000
"""Outcomes of either kind."""

SIGNIFICANT: Final = 72
"""Bytes of a password that bcrypt looks at."""

CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="poolscope"'}


class BusyError(Exception):
    """Too many checks wait already."""


class BasicAuth:
    """
    Answers whether a header has the name and the password of a user.

    Outcomes are remembered under a key that says nothing about the password. Those that are right
    have room of their own, so that guessing does not push them out.
    """

    def __init__(self, users: Mapping[str, str] | None = None) -> None:
        self._secret = secrets.token_bytes(32)
        self._turn = asyncio.Semaphore(1)
        self._checks: dict[bytes, asyncio.Task[bool]] = {}
        self._outcomes: dict[bool, OrderedDict[bytes, None]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }
        self.use(users or {})

    def use(self, users: Mapping[str, str]) -> None:
        """Know these from now on: bcrypt hashes by name. Without any, everybody may enter."""
        self._users = {name.encode(): hashed.encode() for name, hashed in users.items()}
        # Nobody has it. It costs what the others cost, so that time does not tell who is known.
        cost = max((hashed[4:6] for hashed in self._users.values()), default=b"10")
        self._nobody = b"$2b$" + cost + b"$" + b"." * 53

    async def refusal(self, request: web.Request) -> web.Response | None:
        """Return what to answer to one who may not enter."""
        try:
            if not self._users or await self.check(request.headers.get("Authorization", "")):
                return None
        except BusyError:
            text = "503: too many passwords to check\n"
            return web.Response(status=503, text=text, headers={"Retry-After": "1"})
        return web.Response(status=401, text="401: Unauthorized\n", headers=CHALLENGE)

    async def check(self, header: str) -> bool:
        """Return whether an Authorization header is right; raises BusyError."""
        credentials = _credentials(header)
        if credentials is None:
            return False
        user, password = credentials
        hashed = self._users.get(user)
        against = self._nobody if hashed is None else hashed
        key = hmac.digest(self._secret, repr((user, against, password)).encode(), "sha256")
        for outcome, keys in self._outcomes.items():
            if key in keys:
                keys.move_to_end(key)
                return outcome
        if key not in self._checks:
            if len(self._checks) >= LONGEST_QUEUE:
                raise BusyError
            self._checks[key] = asyncio.create_task(
                self._check(key, password, against, hashed is not None)
            )
        # One who gives up must not take the outcome away from others.
        return await asyncio.shield(self._checks[key])

    async def _check(self, key: bytes, password: bytes, against: bytes, known: bool) -> bool:
        try:
            async with self._turn:
                matches = await asyncio.to_thread(_matches, password, against)
        finally:
            del self._checks[key]
        outcome = matches and known
        keys = self._outcomes[outcome]
        keys[key] = None
        if len(keys) > REMEMBERED:
            keys.popitem(last=False)
        return outcome


def _credentials(header: str) -> tuple[bytes, bytes] | None:
    """Return name and password, or None if that is not what the header has."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password[:SIGNIFICANT]) if colon else None


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # what this version of bcrypt does not take
        return False
